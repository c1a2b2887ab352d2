#include "quant/spec_fields.h"

#include <algorithm>
#include <map>

#include "quant/format.h"

namespace ptq {
namespace {

const std::map<std::string, Granularity> granularities = {{"tensor", Granularity::tensor},
                                                          {"channel", Granularity::channel},
                                                          {"group", Granularity::group},
                                                          {"token", Granularity::token},
                                                          {"head", Granularity::head},
                                                          {"cluster", Granularity::cluster}};

}  // namespace

std::string granularity_name(Granularity value) {
  for (const auto& [name, granularity] : granularities)
    if (granularity == value) return name;
  return "";
}

Granularity granularity_of(const std::string& name) { return granularities.at(name); }

SpecFields::SpecFields(const Json& value, std::string key, const std::vector<std::string>& allowed)
    : value_(value), key_(std::move(key)) {
  if (!value.is_object()) throw UserError({{}, 0, key_}, "must be a mapping, not " + value.dump());
  for (const auto& [name, ignored] : value.items())
    if (std::find(allowed.begin(), allowed.end(), name) == allowed.end())
      throw UserError({{}, 0, path(name)}, unknown_name_message("key", name, allowed));
}

void SpecFields::fail(const std::string& name, const std::string& message) const {
  throw UserError({{}, 0, path(name)}, message);
}

void SpecFields::refuse(const std::string& name, const std::string& allowed) const {
  fail(name, "must be " + allowed + ", not " + value_.at(name).dump());
}

void SpecFields::read(const std::string& name, std::string& into) const {
  if (!has(name)) return;
  if (!value_.at(name).is_string()) refuse(name, "text");
  into = value_.at(name).get<std::string>();
}

void SpecFields::read(const std::string& name, bool& into) const {
  if (!has(name)) return;
  if (!value_.at(name).is_boolean()) refuse(name, "true or false");
  into = value_.at(name).get<bool>();
}

int64_t SpecFields::integer(const std::string& name, int64_t otherwise, int64_t low, int64_t high,
                            const std::string& allowed) const {
  if (!has(name)) return otherwise;
  const Json& value = value_.at(name);
  if (!value.is_number_integer()) refuse(name, allowed);
  if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(high))
    refuse(name, allowed);
  if (value.get<int64_t>() < low || value.get<int64_t>() > high) refuse(name, allowed);
  return value.get<int64_t>();
}

double SpecFields::number(const std::string& name, double otherwise, double low, double high,
                          const std::string& allowed) const {
  if (!has(name)) return otherwise;
  if (!value_.at(name).is_number()) refuse(name, allowed);
  const double value = value_.at(name).get<double>();
  if (!(value >= low && value <= high)) refuse(name, allowed);
  return value;
}

std::string SpecFields::choice(const std::string& name, const std::string& otherwise,
                               const std::vector<std::string>& allowed, const std::string& what) const {
  std::string value = otherwise;
  read(name, value);
  if (std::find(allowed.begin(), allowed.end(), value) == allowed.end())
    fail(name, unknown_name_message(what, value, allowed));
  return value;
}

void SpecFields::forbid(const std::vector<std::string>& names, const std::string& reason) const {
  for (const std::string& name : names)
    if (has(name)) fail(name, reason);
}

NumberFields number_fields(const SpecFields& fields, const NumberFields& defaults) {
  NumberFields number = defaults;
  std::vector<std::string> names = FormatRegistry::get().names();
  names.push_back(no_format);
  number.format = fields.choice("format", "int", names, "number format");
  if (number.format == no_format) return number;
  const NumberFormat& format = number_format(number.format);
  if (number.format != "int") number.bits = format.default_bits;
  if (format.least_bits == format.most_bits) {
    const std::string width = std::to_string(format.least_bits);
    fields.integer("bits", number.bits, format.least_bits, format.most_bits,
                   width + " with format: " + number.format + ", or left out");
  } else {
    number.bits = static_cast<int>(fields.integer("bits", number.bits, 2, 8, "a whole number from 2 to 8"));
  }
  if (!format.zero_point) number.symmetric = true;
  fields.read("symmetric", number.symmetric);
  if (!format.zero_point && !number.symmetric)
    fields.fail("symmetric", number.format + " has a sign and no zero point: true, or left out");
  if (number.format != "mxint")
    fields.forbid({"exponent_bits"}, "is read with format: mxint only, and the format is " + number.format);
  number.exponent_bits =
      static_cast<int>(fields.integer("exponent_bits", 8, 2, 8, "a whole number from 2 to 8"));
  return number;
}

}  // namespace ptq
