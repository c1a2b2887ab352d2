// Answers: how a task's greedy answers end and read, as lm-eval 0.4.13 has it for a causal Hugging Face
// model:
// - an answer ends with a token of eos_token_id (of generation_config.json, else of config.json), or once a
//   stop string stands in the text of its last tokens, two more than the stop string has; the EOS token's
//   text is one of them;
// - its text, without special tokens, is cut before the first occurrence of each stop string;
// - a repetition_penalty of generation_config.json is applied, which transformers reads for itself.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "evaluators/request_builder.h"
#include "evaluators/task.h"

namespace ptq {

class Answers {
 public:
  // input.tokenizer must outlive it. input.spec.max_tokens, when not 0, is the most tokens of an answer, else
  // usual_most. Throws UserError when the model's positions leave no room for a context.
  Answers(const TaskInput& input, std::vector<std::string> stops, int64_t usual_most);

  Generation generation() const;
  std::string text(const std::vector<int32_t>& generated) const;
  int64_t longest_context() const { return longest_context_; }

 private:
  struct Stop {
    std::string text;
    size_t tokens = 0;  // of an answer, its last ones, that are looked at
  };
  bool ended(std::span<const int32_t> generated) const;

  const Tokenizer& tokenizer_;
  std::vector<Stop> stops_;
  std::vector<int32_t> end_ids_;
  int64_t most_tokens_, longest_context_;
  double repetition_penalty_ = 1;
};

// A task whose documents are prompts that the model continues.
class GenerativeTask : public Task {
 public:
  std::vector<Request> requests() const override { return requests_; }
  std::string token_digest() const override { return digest_requests(requests_); }
  std::optional<Generation> generation() const override { return answers_.generation(); }
  // The answer of each document as "output".
  std::vector<DocumentText> texts(const std::vector<Score>& scores) const override;

 protected:
  GenerativeTask(const TaskInput& input, std::vector<std::string> stops, int64_t usual_most)
      : answers_(input, std::move(stops), usual_most) {}

  Answers answers_;
  RequestCounts counts_;
  std::vector<Request> requests_;
};

}  // namespace ptq
