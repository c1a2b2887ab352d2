// Resources: what one rank has loaded: checkpoints, tokenizers, calibration sets, evaluations, and the model
// in use. Not thread-safe: the planning thread uses it first, then the worker thread alone.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "datasets/calibration.h"
#include "evaluators/inside_task.h"
#include "evaluators/scorer.h"
#include "evaluators/task.h"
#include "harness/device.h"
#include "models/decoder.h"

namespace ptq {

// An evaluation with its requests, ready to be scored.
struct PreparedEvaluation {
  EvaluationSpec spec;
  std::shared_ptr<const Task> task;
  std::vector<Request> requests;
  std::optional<Generation> generation;  // of answers
  bool decodes = false;                  // its batches are for decode_batch (evaluators/decoding.h)
  const InsideTask* inside = nullptr;    // the task, where it looks inside: one batch of all requests
  std::vector<Batch> batches;
  std::string digest;
  int64_t tokens = 0;  // of all requests
};

Json to_json(const EvaluationSpec& spec);  // every field, paths resolved: a unit's payload
EvaluationSpec evaluation_from_json(const Json& value);
Json to_json(const CalibrationSpec& spec, int64_t seed);

// make_calibration_set with the chat template that the spec asks for, if any, of the model at `dir`.
CalibrationSet calibration_set(const CalibrationSpec& spec, const Tokenizer& tokenizer, uint64_t seed,
                               const std::string& dir);

class Resources {
 public:
  explicit Resources(RankDevice device = {}) : device_(std::move(device)) {}
  const RankDevice& device() const { return device_; }  // where this rank computes
  std::shared_ptr<const Checkpoint> checkpoint(const std::string& dir);
  // Throws UserError when the tokenizer has ids that the model's embedding lacks.
  std::shared_ptr<const Tokenizer> tokenizer(const std::string& dir);
  std::shared_ptr<const CalibrationSet> calibration(const std::string& dir, const Json& spec);
  std::shared_ptr<const PreparedEvaluation> evaluation(const std::string& dir, const EvaluationSpec& spec);
  // The last one is kept: the next request for another replaces it. overlay_path "": full precision. running:
  // what it rounds while it runs (models/decoder.h), to_json of a QuantSpec; null: nothing.
  const DecoderModel& model(const std::string& dir, const std::string& overlay_path, at::ScalarType dtype,
                            const Json& running = nullptr);

 private:
  RankDevice device_;
  std::map<std::string, std::shared_ptr<const Checkpoint>> checkpoints_;
  std::map<std::string, std::shared_ptr<const Tokenizer>> tokenizers_;
  std::map<std::string, std::shared_ptr<const CalibrationSet>> calibrations_;
  std::map<std::string, std::shared_ptr<const PreparedEvaluation>> evaluations_;
  std::string model_key_;
  std::unique_ptr<DecoderModel> model_;
};

}  // namespace ptq
