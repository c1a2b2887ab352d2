// Units of work, done on any rank.
#include <ATen/Parallel.h>

#include <cstring>
#include <filesystem>

#include "core/error.h"
#include "core/sha256.h"
#include "harness/pipeline.h"
#include "harness/planner.h"
#include "models/overlay.h"

namespace ptq {
namespace {

// Codes and grids by layer: equal for equal quantizations, whatever the file's other contents.
std::string overlay_digest(const Overlay& overlay) {
  Sha256 hash;
  auto add = [&](const std::string& name, const at::Tensor& tensor) {
    const at::Tensor t = tensor.contiguous();
    hash.update(name).update(t.data_ptr(), t.nbytes());
  };
  for (const auto& [name, weight] : overlay.linears) {
    add(name, weight.codes_OI);
    add("scale", weight.grid.scale_OG);
    add("zero", weight.grid.zero_OG);
  }
  for (const auto& [name, tensor] : overlay.tensors) add(name, tensor);
  return hash.hex();
}

// The inverse of to_json(Method), whose options are complete.
Method read_method(const Json& value) {
  Method method;
  method.input = value.value("input", "") == "full_precision" ? InputStream::full_precision
                                                              : InputStream::quantized_prefix;
  for (const Json& step : value["steps"]) method.steps.push_back({step["step"], step["options"]});
  return method;
}

std::string quantize(Resources& resources, const Json& unit, const Heartbeat& heartbeat) {
  const std::string dir = unit["dir"], artifact = unit["artifact"];
  const Method method = read_method(unit["method"]);
  const QuantSpec spec = quant_spec_from_json(unit["quantization"], "quantization");
  CalibrationSet none;
  const CalibrationSet& calibration =
      unit["calibration"].is_null() ? none : *resources.calibration(dir, unit["calibration"]);
  const QuantizeResult result =
      quantize_model(resources.checkpoint(dir), method, spec, calibration, heartbeat);
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(artifact).parent_path(), error);
  write_overlay(artifact, result.overlay,
                {{"key", unit["key"]},
                 {"method", canonical(unit["method"])},
                 {"quantization", canonical(unit["quantization"])}});
  Json layers = Json::array();
  for (const LayerMetric& m : result.metrics) layers.push_back({m.layer, m.name, m.value});
  return canonical({{"key", unit["key"]},
                    {"artifact", std::filesystem::path(artifact).filename().string()},
                    {"artifact_digest", overlay_digest(result.overlay)},
                    {"average_bits", result.average_bits},
                    {"layers", layers}});
}

std::string score(Resources& resources, const Json& unit, const Heartbeat& heartbeat) {
  const std::string dir = unit["dir"], artifact = unit["artifact"];
  const auto evaluation = resources.evaluation(dir, evaluation_from_json(unit["evaluation"]));
  // Rank 0 planned with the file as it was: a rank that reads another one must not add its part.
  if (evaluation->digest != unit["digest"])
    throw UserError({evaluation->spec.path, 0, ""}, "changed since the run began, or differs between hosts");
  const at::ScalarType dtype = unit["dtype"] == "bfloat16" ? at::kBFloat16 : at::kFloat;
  const DecoderModel& model = resources.model(dir, artifact, dtype);
  const auto scores =
      score_batches(model, evaluation->requests, evaluation->batches, unit["begin"], unit["end"], heartbeat);
  std::string bytes;
  for (const Score& s : scores) {
    bytes.append(reinterpret_cast<const char*>(&s.log_likelihood), sizeof s.log_likelihood);
    bytes.push_back(s.greedy ? 1 : 0);
  }
  return bytes;
}

}  // namespace

std::string execute_unit(Resources& resources, const std::string& payload, const Heartbeat& heartbeat) {
  const Json unit = Json::parse(payload);
  // The setting belongs to the calling thread; Open MPI's presence makes MKL sequential unless told
  // otherwise.
  at::set_num_threads(unit["threads"].get<int>());
  return unit["op"] == "quantize" ? quantize(resources, unit, heartbeat) : score(resources, unit, heartbeat);
}

QuantizationRow interpret_quantization(const std::string& bytes) {
  const Json value = Json::parse(bytes);
  QuantizationRow row;
  row.key = value["key"];
  row.artifact = value["artifact"];
  row.artifact_digest = value["artifact_digest"];
  row.average_bits = value["average_bits"];
  // A number that JSON cannot write (infinity) comes back as null.
  for (const auto& layer : value["layers"])
    row.layers.push_back(
        {layer[0], layer[1],
         layer[2].is_null() ? std::numeric_limits<double>::quiet_NaN() : layer[2].get<double>()});
  return row;
}

std::vector<Score> interpret_scores(const std::string& bytes) {
  constexpr size_t size = sizeof(double) + 1;
  PTQ_CHECK_EQ(bytes.size() % size, size_t{0});
  std::vector<Score> scores(bytes.size() / size);
  for (size_t i = 0; i < scores.size(); ++i) {
    std::memcpy(&scores[i].log_likelihood, bytes.data() + i * size, sizeof(double));
    scores[i].greedy = bytes[i * size + sizeof(double)] != 0;
  }
  return scores;
}

}  // namespace ptq
