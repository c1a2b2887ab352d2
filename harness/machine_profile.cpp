#include "harness/machine_profile.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/atomic_file.h"
#include "core/error.h"
#include "core/log.h"
#include "core/machine.h"
#include "results/provenance.h"

namespace ptq {
namespace {

enum class Basis { float32, bfloat16, bandwidth };

// Units a second as a part of the machine's flop/s, or of its bytes/s, as measured on an AMD EPYC (Zen 4).
struct KernelEntry {
  std::string name;
  Basis basis;
  double part;
};

const std::array<KernelEntry, kernel_count>& entries() {
  static const std::array<KernelEntry, kernel_count> table = {{
      {"product_float32", Basis::float32, 1},
      {"product_bfloat16", Basis::bfloat16, 1},
      {"pack_float32", Basis::bandwidth, 0.1},
      {"pack_bfloat16", Basis::bandwidth, 0.2},
      {"skinny_float32", Basis::bandwidth, 0.2},
      {"skinny_bfloat16", Basis::bandwidth, 0.3},
      {"stream", Basis::bandwidth, 0.6},
      {"attention_float32", Basis::float32, 0.6},
      {"attention_bfloat16", Basis::bfloat16, 0.4},
      {"elements_float32", Basis::bandwidth, 0.1},
      {"elements_bfloat16", Basis::bandwidth, 0.1},
      {"gram", Basis::float32, 0.9},
      {"gemm", Basis::float32, 0.9},
      {"update", Basis::float32, 0.5},
      {"factor", Basis::float32, 0.4},
      {"solve", Basis::float32, 0.15},
      {"range", Basis::bandwidth, 0.08},
      {"quantize", Basis::bandwidth, 0.08},
      {"candidate", Basis::bandwidth, 0.03},
      {"clip", Basis::bandwidth, 0.015},
      {"search", Basis::bandwidth, 0.01},
      {"zero_search", Basis::bandwidth, 0.005},
      {"leave_out", Basis::bandwidth, 0.01},
      {"gradient_float32", Basis::float32, 0.6},
      {"gradient_bfloat16", Basis::bfloat16, 0.4},
      {"learn", Basis::bandwidth, 0.01},
      {"log_softmax", Basis::bandwidth, 0.1},
      {"load", Basis::bandwidth, 0.1},
      {"dequantize", Basis::bandwidth, 0.08},
      {"file", Basis::bandwidth, 0.03},
  }};
  return table;
}

constexpr double nominal_call_s = 5e-6;

// One number of the file.
class Fields {
 public:
  Fields(const Json& value, std::string file) : value_(value), file_(std::move(file)) {
    if (!value.is_object()) throw UserError({file_, 0, ""}, "wanted one JSON object about a machine");
  }
  void allow(const Json& map, const std::string& prefix, const std::vector<std::string>& names) const {
    for (const auto& [key, ignored] : map.items())
      if (std::find(names.begin(), names.end(), key) == names.end())
        throw UserError({file_, 0, prefix + key}, unknown_name_message("key", key, names));
  }
  double number(const Json& map, const std::string& prefix, const std::string& key, bool zero_allowed) const {
    if (!map.contains(key)) throw UserError({file_, 0, prefix + key}, "is missing");
    const Json& value = map.at(key);
    const double number = value.is_number() ? value.get<double>() : -1;
    if (!std::isfinite(number) || number < 0 || (number == 0 && !zero_allowed))
      throw UserError({file_, 0, prefix + key}, std::string("must be a number ") +
                                                    (zero_allowed ? "of at least 0" : "above 0") + ", not " +
                                                    value.dump());
    return number;
  }
  double positive(const std::string& key) const { return number(value_, "", key, false); }
  double positive_or(const std::string& key, double fallback) const {
    return value_.contains(key) ? positive(key) : fallback;
  }
  double least_zero_or(const std::string& key, double fallback) const {
    return value_.contains(key) ? number(value_, "", key, true) : fallback;
  }
  int whole_or(const std::string& key, int fallback) const {
    const double given = least_zero_or(key, fallback);
    if (given != std::floor(given) || given > 1e6)
      throw UserError({file_, 0, key}, "must be a whole number, not " + value_.at(key).dump());
    return static_cast<int>(given);
  }

 private:
  const Json& value_;
  std::string file_;
};

double basis_of(const MachineProfile& machine, Basis basis) {
  if (basis == Basis::bandwidth) return machine.memory_bandwidth_gb_s * 1e9;
  return (basis == Basis::float32 ? machine.gflops_float32 : machine.gflops_bfloat16) * 1e9;
}

}  // namespace

const std::string& kernel_name(Kernel kernel) { return entries().at(static_cast<size_t>(kernel)).name; }

MachineProfile machine_from_json(const Json& value, const std::string& file) {
  const Fields fields(value, file);
  fields.allow(value, "",
               {"name", "gflops_float32", "gflops_bfloat16", "memory_bandwidth_gb_s", "memory_gb",
                "link_gb_s", "link_latency_s", "local_link_gb_s", "local_link_latency_s", "threads", "cores",
                "call_s", "kernels", "measured"});
  MachineProfile machine;
  if (!value.contains("name") || !value.at("name").is_string())
    throw UserError({file, 0, "name"}, "must be there and be text");
  machine.name = value.at("name");
  machine.gflops_float32 = fields.positive("gflops_float32");
  machine.gflops_bfloat16 = fields.positive_or("gflops_bfloat16", machine.gflops_float32);
  machine.memory_bandwidth_gb_s = fields.positive("memory_bandwidth_gb_s");
  machine.memory_gb = fields.least_zero_or("memory_gb", 0);
  machine.link_gb_s = fields.positive("link_gb_s");
  machine.link_latency_s = fields.least_zero_or("link_latency_s", 1e-5);
  machine.local_link_gb_s = fields.positive_or("local_link_gb_s", machine.link_gb_s);
  machine.local_link_latency_s = fields.least_zero_or("local_link_latency_s", machine.link_latency_s);
  machine.threads = std::max(1, fields.whole_or("threads", 1));
  machine.cores = fields.whole_or("cores", 0);
  const double call_s = fields.least_zero_or("call_s", nominal_call_s);
  for (size_t k = 0; k < kernel_count; ++k)
    machine.kernels[k] = {entries()[k].part * basis_of(machine, entries()[k].basis), call_s};
  if (value.contains("kernels")) {
    const Json& kernels = value.at("kernels");
    if (!kernels.is_object())
      throw UserError({file, 0, "kernels"}, "wanted an object: {kernel: {per_second, call_s}}");
    std::vector<std::string> names;
    for (const KernelEntry& entry : entries()) names.push_back(entry.name);
    fields.allow(kernels, "kernels.", names);
    for (size_t k = 0; k < kernel_count; ++k) {
      if (!kernels.contains(names[k])) continue;
      const Json& rate = kernels.at(names[k]);
      const std::string prefix = "kernels." + names[k] + ".";
      if (!rate.is_object()) throw UserError({file, 0, "kernels." + names[k]}, "wanted {per_second, call_s}");
      fields.allow(rate, prefix, {"per_second", "call_s"});
      machine.kernels[k].per_second = fields.number(rate, prefix, "per_second", false);
      if (rate.contains("call_s")) machine.kernels[k].call_s = fields.number(rate, prefix, "call_s", true);
    }
  }
  if (value.contains("measured")) machine.measured = value.at("measured");
  return machine;
}

Json to_json(const MachineProfile& m) {
  Json value = {{"name", m.name},
                {"gflops_float32", m.gflops_float32},
                {"gflops_bfloat16", m.gflops_bfloat16},
                {"memory_bandwidth_gb_s", m.memory_bandwidth_gb_s},
                {"memory_gb", m.memory_gb},
                {"link_gb_s", m.link_gb_s},
                {"link_latency_s", m.link_latency_s},
                {"local_link_gb_s", m.local_link_gb_s},
                {"local_link_latency_s", m.local_link_latency_s},
                {"threads", m.threads},
                {"cores", m.cores}};
  for (size_t k = 0; k < kernel_count; ++k)
    value["kernels"][entries()[k].name] = {{"per_second", m.kernels[k].per_second},
                                           {"call_s", m.kernels[k].call_s}};
  if (!m.measured.is_null()) value["measured"] = m.measured;
  return value;
}

const MachineProfile& nominal_machine() {
  static const MachineProfile machine = machine_from_json({{"name", "nominal"},
                                                           {"gflops_float32", 80},
                                                           {"gflops_bfloat16", 160},
                                                           {"memory_bandwidth_gb_s", 10},
                                                           {"link_gb_s", 1}},
                                                          "nominal machine");
  return machine;
}

Json machine_identity() {
  const Environment here = current_environment(1, 1, "");
  return {{"cpu", here.cpu}, {"isa", here.isa}, {"libtorch", here.libtorch}, {"build", here.commit}};
}

std::string machine_file() {
  const std::string folder = user_cache_folder();
  return folder.empty() ? "" : folder + "/machine.json";
}

std::optional<MachineProfile> stored_machine() {
  const std::string file = machine_file();
  std::error_code error;
  if (file.empty() || !std::filesystem::exists(file, error)) return std::nullopt;
  try {
    MachineProfile machine = machine_from_json(read_json_file(file), file);
    if (machine.measured == machine_identity()) return machine;
  } catch (const std::exception& e) {
    log_debug(std::string("measured again: ") + e.what());
  }
  return std::nullopt;
}

MachineProfile this_machine(bool again) {
  if (!again)
    if (auto stored = stored_machine()) return *stored;
  MachineProfile machine = measure_machine();
  const std::string file = machine_file();
  if (file.empty()) return machine;
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(file).parent_path(), error);
  try {
    AtomicFile out(file);
    const std::string text = to_json(machine).dump(1) + "\n";
    out.write(text.data(), text.size());
    out.commit();
  } catch (const UserError& e) {  // the plan is right without it, only slower the next time
    log_debug(std::string("machine profile not stored: ") + e.what());
  }
  return machine;
}

}  // namespace ptq
