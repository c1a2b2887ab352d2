// Reading specs from JSON, strictly. Only for spec*.cpp.
#pragma once

#include <string>
#include <vector>

#include "core/error.h"
#include "quant/spec.h"

namespace ptq {

// One JSON object whose fields are taken by name; what is not allowed is an error.
class SpecFields {
 public:
  SpecFields(const Json& value, std::string key, const std::vector<std::string>& allowed);

  std::string path(const std::string& name) const { return key_.empty() ? name : key_ + "." + name; }
  bool has(const std::string& name) const { return value_.contains(name); }
  const Json& at(const std::string& name) const { return value_.at(name); }
  [[noreturn]] void fail(const std::string& name, const std::string& message) const;
  [[noreturn]] void refuse(const std::string& name, const std::string& allowed) const;

  void read(const std::string& name, std::string& into) const;
  void read(const std::string& name, bool& into) const;
  int64_t integer(const std::string& name, int64_t otherwise, int64_t low, int64_t high,
                  const std::string& allowed) const;
  double number(const std::string& name, double otherwise, double low, double high,
                const std::string& allowed) const;
  // One of these texts.
  std::string choice(const std::string& name, const std::string& otherwise,
                     const std::vector<std::string>& allowed, const std::string& what) const;
  // These fields are not read: the reason says why.
  void forbid(const std::vector<std::string>& names, const std::string& reason) const;

 private:
  const Json& value_;
  std::string key_;
};

std::string granularity_name(Granularity value);
Granularity granularity_of(const std::string& name);  // of a name that is one

// format, bits, symmetric, exponent_bits: what weights and activations have in common. `spec` brings the
// defaults of `int`.
struct NumberFields {
  std::string format;
  int bits;
  bool symmetric;
  int exponent_bits;
};
NumberFields number_fields(const SpecFields& fields, const NumberFields& defaults);

ActivationSpec activation_spec_from_json(const Json& value, const std::string& key);
KvCacheSpec kv_cache_spec_from_json(const Json& value, const std::string& key);
Json to_json(const ActivationSpec& spec);
Json to_json(const KvCacheSpec& spec);
std::string short_name(const ActivationSpec& spec);
std::string short_name(const KvCacheSpec& spec);

}  // namespace ptq
