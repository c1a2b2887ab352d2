#include "harness/resources.h"

#include <filesystem>

#include "core/error.h"
#include "core/sha256.h"
#include "datasets/text.h"
#include "evaluators/chat_template.h"
#include "evaluators/decoding.h"
#include "models/overlay.h"

namespace ptq {

Json to_json(const EvaluationSpec& s) {
  return {{"task", s.task},
          {"path", s.path},
          {"limit", s.limit},
          {"shots", s.shots},
          {"fewshot_path", s.fewshot_path},
          {"chat_template", s.chat_template},
          {"fewshot_as_multiturn", s.fewshot_as_multiturn},
          {"max_tokens", s.max_tokens},
          {"protocol", s.protocol},
          {"window", s.window},
          {"stride", s.stride},
          {"windows", s.windows},
          {"decode", s.decode},
          {"columns", s.columns}};
}

EvaluationSpec evaluation_from_json(const Json& v) {
  EvaluationSpec s;
  s.task = v.at("task");
  s.path = v.at("path");
  s.limit = v.at("limit");
  s.shots = v.at("shots");
  s.fewshot_path = v.at("fewshot_path");
  s.chat_template = v.at("chat_template");
  s.fewshot_as_multiturn = v.at("fewshot_as_multiturn");
  s.max_tokens = v.at("max_tokens");
  s.protocol = v.at("protocol");
  s.window = v.at("window");
  s.stride = v.at("stride");
  s.windows = v.at("windows");
  s.decode = v.at("decode");
  s.columns = v.at("columns").get<std::vector<std::string>>();
  return s;
}

Json to_json(const CalibrationSpec& s, int64_t seed) {
  return {{"path", s.path},     {"preset", s.preset}, {"samples", s.samples},
          {"length", s.length}, {"seed", seed},       {"chat_template", s.chat_template}};
}

CalibrationSet calibration_set(const CalibrationSpec& spec, const Tokenizer& tokenizer, uint64_t seed,
                               const std::string& dir) {
  EvaluationSpec asked;
  asked.chat_template = spec.chat_template;
  const auto chat = ChatTemplate::for_task({asked, tokenizer, 0, dir});
  ChatRenderer render;
  if (chat) render = [&](std::span<const ChatMessage> messages) { return chat->render(messages, false); };
  return make_calibration_set(spec, tokenizer, seed, render);
}

namespace {

// The digest of requests whose answers end as the checkpoint's generation_config.json says.
std::string with_ends(const std::string& digest, const std::string& dir) {
  const std::string path = dir + "/generation_config.json";
  std::error_code error;
  return sha256(digest + "\n" + (std::filesystem::exists(path, error) ? read_text(path) : ""));
}

// All requests as one batch.
Batch whole(const std::vector<Request>& requests) {
  Batch batch;
  for (size_t i = 0; i < requests.size(); ++i) {
    batch.requests.push_back(static_cast<int64_t>(i));
    batch.tokens += static_cast<int64_t>(requests[i].ids.size());
  }
  return batch;
}

}  // namespace

std::shared_ptr<const Checkpoint> Resources::checkpoint(const std::string& dir) {
  auto& slot = checkpoints_[dir];
  if (!slot) slot = Checkpoint::open(dir);
  return slot;
}

std::shared_ptr<const Tokenizer> Resources::tokenizer(const std::string& dir) {
  auto& slot = tokenizers_[dir];
  if (!slot) {
    auto tokenizer = Tokenizer::load(dir);
    const int64_t rows = checkpoint(dir)->config().vocab_size;
    if (tokenizer->vocab_size() > rows)
      throw UserError({dir, 0, "vocab_size"}, "the tokenizer has ids up to " +
                                                  std::to_string(tokenizer->vocab_size() - 1) +
                                                  ", but the model embeds " + std::to_string(rows) +
                                                  ": tokenizer and checkpoint do not belong together");
    slot = std::move(tokenizer);
  }
  return slot;
}

std::shared_ptr<const CalibrationSet> Resources::calibration(const std::string& dir, const Json& value) {
  auto& slot = calibrations_[dir + "\n" + canonical(value)];
  if (!slot) {
    CalibrationSpec spec;
    spec.path = value.at("path");
    spec.preset = value.at("preset");
    spec.samples = value.at("samples");
    spec.length = value.at("length");
    spec.chat_template = value.at("chat_template");
    slot = std::make_shared<CalibrationSet>(
        calibration_set(spec, *tokenizer(dir), value.at("seed").get<uint64_t>(), dir));
  }
  return slot;
}

std::shared_ptr<const PreparedEvaluation> Resources::evaluation(const std::string& dir,
                                                                const EvaluationSpec& spec) {
  auto& slot = evaluations_[dir + "\n" + canonical(to_json(spec))];
  if (!slot) {
    auto prepared = std::make_shared<PreparedEvaluation>();
    prepared->spec = spec;
    const auto words = tokenizer(dir);
    const TaskInput input{prepared->spec, *words, checkpoint(dir)->config().max_positions, dir};
    prepared->task = TaskRegistry::get().find(spec.task)->make(input);
    prepared->requests = prepared->task->requests();
    prepared->generation = prepared->task->generation();
    prepared->decodes = decodes(prepared->requests, prepared->generation);
    prepared->inside = dynamic_cast<const InsideTask*>(prepared->task.get());
    prepared->batches = prepared->inside    ? std::vector{whole(prepared->requests)}
                        : prepared->decodes ? plan_decoding(prepared->requests, prepared->generation)
                                            : plan_batches(prepared->requests);
    prepared->digest = prepared->task->token_digest();
    if (prepared->generation) {
      prepared->digest = with_ends(prepared->digest, dir);
      // Results of a version that did not apply it are others.
      if (prepared->generation->repetition_penalty != 1)
        prepared->digest = sha256(prepared->digest + "\nrepetition_penalty");
    }
    for (const Request& request : prepared->requests)
      prepared->tokens += static_cast<int64_t>(request.ids.size());
    slot = std::move(prepared);
  }
  return slot;
}

const DecoderModel& Resources::model(const std::string& dir, const std::string& overlay_path,
                                     at::ScalarType dtype, const Json& running) {
  const std::string key = dir + "\n" + overlay_path + "\n" + at::toString(dtype) + "\n" + canonical(running);
  if (key != model_key_) {
    model_.reset();  // before the next one is loaded: two would not fit where one does
    model_key_.clear();
    std::shared_ptr<const OverlayFile> overlay;
    if (!overlay_path.empty()) overlay = OverlayFile::open(overlay_path);
    model_ = std::make_unique<DecoderModel>(
        checkpoint(dir), dtype, std::move(overlay),
        running.is_null() ? QuantSpec{} : quant_spec_from_json(running, "running"));
    model_key_ = key;
  }
  return *model_;
}

}  // namespace ptq
