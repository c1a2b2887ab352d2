#include "evaluators/answers.h"

#include <algorithm>
#include <filesystem>

#include "core/error.h"
#include "core/log.h"

namespace ptq {
namespace {

// The checkpoint's file as JSON; null without it.
Json read_part(const std::string& dir, const std::string& name) {
  std::error_code error;
  const std::string path = dir + "/" + name;
  return !dir.empty() && std::filesystem::exists(path, error) ? read_json_file(path) : Json();
}

// eos_token_id: an integer or a list of them.
std::vector<int32_t> end_ids(const Json& config) {
  if (!config.is_object() || !config.contains("eos_token_id")) return {};
  const Json& value = config["eos_token_id"];
  if (value.is_number_integer()) return {value.get<int32_t>()};
  std::vector<int32_t> ids;
  if (value.is_array())
    for (const Json& id : value)
      if (id.is_number_integer()) ids.push_back(id.get<int32_t>());
  return ids;
}

double repetition_penalty(const Json& generation, const std::string& dir) {
  const auto found = generation.is_object() ? generation.find("repetition_penalty") : generation.end();
  if (found == generation.end() || found->is_null()) return 1;
  if (!found->is_number() || !(found->get<double>() > 0))
    throw UserError(Where{dir + "/generation_config.json", 0, "repetition_penalty"},
                    "a number above 0 is needed");
  return *found;
}

// What else transformers would apply to greedy answers, and is not applied here.
void warn_of_others(const Json& generation, const std::string& task) {
  if (!generation.is_object()) return;
  const std::pair<const char*, Json> neutral[] = {{"no_repeat_ngram_size", 0},
                                                  {"encoder_repetition_penalty", 1},
                                                  {"min_length", 0},
                                                  {"min_new_tokens", 0},
                                                  {"num_beams", 1},
                                                  {"bad_words_ids", nullptr},
                                                  {"suppress_tokens", nullptr},
                                                  {"begin_suppress_tokens", nullptr},
                                                  {"forced_bos_token_id", nullptr},
                                                  {"forced_eos_token_id", nullptr},
                                                  {"sequence_bias", nullptr},
                                                  {"penalty_alpha", nullptr}};
  for (const auto& [name, value] : neutral)
    if (const auto found = generation.find(name);
        found != generation.end() && !found->is_null() && *found != value)
      log_warning(task + ": the " + name + " of generation_config.json is not applied");
}

}  // namespace

Answers::Answers(const TaskInput& input, std::vector<std::string> stops, int64_t usual_most)
    : tokenizer_(input.tokenizer),
      most_tokens_(input.spec.max_tokens > 0 ? input.spec.max_tokens : usual_most),
      longest_context_(input.max_positions - most_tokens_) {
  if (longest_context_ < 1)
    throw UserError(input.spec.task + ": max_tokens is " + std::to_string(most_tokens_) + "; the model has " +
                    std::to_string(input.max_positions) + " positions for question and answer");
  if (const auto eos = tokenizer_.eos_id()) {
    const std::string text = tokenizer_.decode(std::vector<int32_t>{*eos}, false);
    if (std::ranges::find(stops, text) == stops.end()) stops.push_back(text);
  }
  for (std::string& stop : stops) {
    if (stop.empty()) continue;
    const size_t tokens = tokenizer_.encode(stop, false).size() + 2;
    stops_.push_back({std::move(stop), tokens});
  }
  const Json generation = read_part(input.model_dir, "generation_config.json");
  end_ids_ = end_ids(generation.is_null() ? read_part(input.model_dir, "config.json") : generation);
  repetition_penalty_ = repetition_penalty(generation, input.model_dir);
  warn_of_others(generation, input.spec.task);
}

bool Answers::ended(std::span<const int32_t> generated) const {
  if (std::ranges::find(end_ids_, generated.back()) != end_ids_.end()) return true;
  return std::ranges::any_of(stops_, [&](const Stop& stop) {
    const auto last = generated.last(std::min(stop.tokens, generated.size()));
    return tokenizer_.decode(last, false).find(stop.text) != std::string::npos;
  });
}

Generation Answers::generation() const {
  return {most_tokens_, [copy = *this](std::span<const int32_t> generated) { return copy.ended(generated); },
          repetition_penalty_};
}

std::string Answers::text(const std::vector<int32_t>& generated) const {
  std::string text = tokenizer_.decode(generated, true);
  for (const Stop& stop : stops_) text.resize(std::min(text.size(), text.find(stop.text)));
  return text;
}

std::vector<DocumentText> GenerativeTask::texts(const std::vector<Score>& scores) const {
  std::vector<DocumentText> result;
  for (size_t i = 0; i < scores.size(); ++i)
    result.push_back({static_cast<int64_t>(i), "output", answers_.text(scores[i].generated)});
  return result;
}

}  // namespace ptq
