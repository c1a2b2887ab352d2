// Units of work, done on any rank.
#include <ATen/Parallel.h>
#include <c10/core/DeviceGuard.h>

#include <cstring>
#include <filesystem>
#include <optional>

#include "core/error.h"
#include "core/machine.h"
#include "core/reason.h"
#include "datasets/data_files.h"
#include "harness/block_parts.h"
#include "harness/pipeline.h"
#include "harness/planner.h"
#include "harness/quantize.h"

namespace ptq {
namespace {

// The inverse of to_json(Method), whose options are complete.
Method read_method(const Json& value) {
  Method method;
  method.input = value.value("input", "") == "full_precision" ? InputStream::full_precision
                                                              : InputStream::quantized_prefix;
  for (const Json& step : value["steps"]) method.steps.push_back({step["step"], step["options"]});
  return method;
}

std::string quantize(Resources& resources, const Json& unit, const Team& team, const Heartbeat& heartbeat) {
  const std::string dir = unit["dir"];
  const Json& asked = unit["calibration"];
  auto calibration = std::make_shared<const CalibrationSet>();  // empty where none is read
  // A file may be missing on one host alone: all members learn it before they wait for each other.
  std::string error;
  try {
    resources.checkpoint(dir);
    if (!asked.is_null()) calibration = resources.calibration(dir, asked);
  } catch (const std::exception& e) {
    error = reason(e);
  }
  error = team.conclude(error);
  if (!error.empty()) throw UserError(error);
  if (unit["memory_limit"] > 0) give_back_freed_memory();
  std::vector<QuantizeJob> jobs;
  for (const Json& job : unit["jobs"]) {
    jobs.push_back({job["key"], read_method(job["method"]),
                    quant_spec_from_json(job["quantization"], "quantization"), job["artifact"]});
    std::error_code ignored;  // writing says what is wrong
    std::filesystem::create_directories(std::filesystem::path(jobs.back().artifact).parent_path(), ignored);
  }
  Json results = Json::array();
  for (const QuantizeResult& result : quantize_models(
           resources.checkpoint(dir), jobs, *calibration, asked.is_null() ? 0 : asked["seed"].get<uint64_t>(),
           team, unit["memory_limit"], heartbeat, resources.device().device))
    results.push_back({{"key", result.key},
                       {"error", result.error},
                       {"artifact_digest", result.digest},
                       {"average_bits", result.average_bits},
                       {"layers", to_json(result.metrics)}});
  return canonical(results);
}

struct PackedScore {  // on its way between ranks
  double log_likelihood, divergence;
  int64_t agreements, greedy, generated;  // generated: ids of an answer, which follow
};

std::string pack_scores(const std::vector<Score>& scores) {
  std::string bytes;
  for (const Score& s : scores) {
    const PackedScore packed{s.log_likelihood, s.divergence, s.agreements, s.greedy,
                             static_cast<int64_t>(s.generated.size())};
    bytes.append(reinterpret_cast<const char*>(&packed), sizeof packed);
    bytes.append(reinterpret_cast<const char*>(s.generated.data()), s.generated.size() * sizeof(int32_t));
  }
  return bytes;
}

// Full precision against itself.
void agree_with_itself(const PreparedEvaluation& evaluation, size_t begin, size_t end,
                       std::vector<Score>& scores) {
  size_t next = 0;
  for (size_t b = begin; b < end; ++b)
    for (const int64_t index : evaluation.batches[b].requests) {
      const Request& request = evaluation.requests[static_cast<size_t>(index)];
      scores.at(next++).agreements = static_cast<int64_t>(request.ids.size()) - request.from;
    }
}

// What an evaluation finds inside the model. (On the processor, wherever the rank computes.)
std::string look(Resources& resources, const Json& unit, const PreparedEvaluation& evaluation,
                 const DecoderModel& model, const Heartbeat& heartbeat) {
  const std::string dir = unit["dir"];
  const Json& asked = unit["calibration"];
  std::optional<DecoderModel> full;
  if (unit["artifact"] != "")
    full.emplace(resources.checkpoint(dir), model.compute_dtype(), std::shared_ptr<const Overlay>());
  std::shared_ptr<const CalibrationSet> calibration;
  if (!asked.is_null()) calibration = resources.calibration(dir, asked);
  return canonical(
      to_json(evaluation.inside->look({.model = model,
                                       .full_precision = full ? &*full : nullptr,
                                       .scaled = unit["scaled"],
                                       .calibration_NT = calibration ? &calibration->ids_NT : nullptr,
                                       .share = heartbeat})));
}

std::string score(Resources& resources, const Json& unit, const Heartbeat& heartbeat) {
  const std::string dir = unit["dir"], artifact = unit["artifact"];
  const auto evaluation = resources.evaluation(dir, evaluation_from_json(unit["evaluation"]));
  // Rank 0 planned with the file as it was: a rank that reads another one must not add its part.
  if (evaluation->digest != unit["digest"])
    throw UserError({DataFiles(evaluation->spec.path).text(), 0, ""},
                    "changed since the run began, or differs between hosts");
  const at::ScalarType dtype = unit["dtype"] == "bfloat16" ? at::kBFloat16 : at::kFloat;
  if (unit["block_by_block"]) give_back_freed_memory();
  const DecoderModel& model = resources.model(dir, artifact, dtype, unit["running"]);
  if (evaluation->inside) return look(resources, unit, *evaluation, model, heartbeat);
  if (evaluation->decodes)
    return pack_scores(decode_batches(model, evaluation->requests, evaluation->batches, unit["begin"],
                                      unit["end"], evaluation->generation, heartbeat,
                                      resources.device().device));
  const bool compares = TaskRegistry::get().find(evaluation->spec.task)->against_full_precision;
  std::optional<DecoderModel> reference;  // its blocks are never kept
  if (compares && !artifact.empty())
    reference.emplace(resources.checkpoint(dir), dtype, std::shared_ptr<const Overlay>());
  auto scores = score_batches(model, evaluation->requests, evaluation->batches, unit["begin"], unit["end"],
                              unit["block_by_block"], heartbeat, resources.device().device,
                              reference ? &*reference : nullptr);
  if (compares && !reference) agree_with_itself(*evaluation, unit["begin"], unit["end"], scores);
  return pack_scores(scores);
}

}  // namespace

std::string execute_unit(Resources& resources, const std::string& payload, const Team& team,
                         const Heartbeat& heartbeat) {
  const Json unit = Json::parse(payload);
  // The setting belongs to the calling thread; Open MPI's presence makes MKL sequential unless told
  // otherwise.
  at::set_num_threads(unit["threads"].get<int>());
  const c10::OptionalDeviceGuard current(  // of the calling thread too
      resources.device().gpu.empty() ? std::nullopt : std::optional(resources.device().device));
  return unit["op"] == "quantize" ? quantize(resources, unit, team, heartbeat)
                                  : score(resources, unit, heartbeat);
}

std::vector<QuantizationOutcome> interpret_quantizations(const std::string& bytes) {
  std::vector<QuantizationOutcome> outcomes;
  for (const Json& value : Json::parse(bytes)) {
    QuantizationOutcome outcome;
    outcome.error = value["error"];
    outcome.row.key = value["key"];
    outcome.row.artifact_digest = value["artifact_digest"];
    outcome.row.average_bits = value["average_bits"];
    for (const LayerMetric& m : layer_metrics_from_json(value["layers"]))
      outcome.row.layers.push_back({m.layer, m.name, m.value, m.step});
    outcomes.push_back(std::move(outcome));
  }
  return outcomes;
}

Findings interpret_findings(const std::string& bytes) { return findings_from_json(Json::parse(bytes)); }

std::vector<Score> interpret_scores(const std::string& bytes) {
  std::vector<Score> scores;
  size_t at = 0;
  const auto take = [&](void* into, size_t size) {
    PTQ_CHECK(size <= bytes.size() - at, "scores end in the middle");
    if (size > 0) std::memcpy(into, bytes.data() + at, size);
    at += size;
  };
  while (at < bytes.size()) {
    PackedScore s;
    take(&s, sizeof s);
    Score& score = scores.emplace_back(Score{s.log_likelihood, s.greedy != 0, s.divergence, s.agreements});
    score.generated.resize(static_cast<size_t>(s.generated));
    take(score.generated.data(), score.generated.size() * sizeof(int32_t));
  }
  return scores;
}

}  // namespace ptq
