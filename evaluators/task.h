// Task: an evaluation. It turns documents into scoring requests and scores into metrics; it knows no model
// and no rank.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/registry.h"
#include "models/tokenizer.h"

namespace ptq {

// Score ids[from..] given all ids before each. from >= 1. Of a task that generates: continue ids; from is
// their number.
struct Request {
  std::vector<int32_t> ids;
  int64_t from = 1;
  bool feed_all = false;  // the model reads the last id too, though nothing after it is scored
  int64_t decode = 0;     // the last so many ids that it reads go one at a time through the KV cache
};
// How a task's requests are continued, greedily (evaluators/decoding.h).
struct Generation {
  int64_t most_tokens = 0;                                        // of an answer; 1 or more
  std::function<bool(std::span<const int32_t> generated)> ended;  // after each id, which is kept
  // Divides what is positive, and multiplies what is negative, of the logits of ids that stand in the request
  // or its answer; 1: none.
  double repetition_penalty = 1;
};
struct Score {
  double log_likelihood = 0;  // natural log, summed over ids[from..] in order, float64
  bool greedy = false;        // every scored id was the arg max
  // Of tasks against full precision: sum over the scored positions of KL(full precision || this model) of the
  // next token's distributions, nats; positions where both have the same likeliest token.
  double divergence = 0;
  int64_t agreements = 0;
  std::vector<int32_t> generated{};  // of a request to continue; log_likelihood is theirs, greedy true
};

struct Metric {
  std::string name;  // lm-eval's: perplexity, acc, acc_norm
  double value = 0;
  double stderr_ = -1;  // standard error; < 0: not defined
  int64_t count = 0;    // documents (or scored tokens, for perplexity)
  // What the value is made of, for statistics between cells (evaluators/document_scores.h); empty: none.
  std::vector<double> documents{}, weights{};  // weights empty: one each
};

// What a user may say of an evaluation; every field but name is in the key.
struct EvaluationSpec {
  std::string name;   // for tables; default: the task's
  std::string task;   // registered name: perplexity, piqa, arc_easy, ...
  std::string path;   // resolved: text file (perplexity) or JSON-lines documents
  int64_t limit = 0;  // first documents only; 0: all
  int64_t shots = 0;
  std::string fewshot_path;  // documents that shots are drawn from; "": path
  // "": plain text; auto: as the checkpoint's own chat template says; else a name of chat_template_names(),
  // for a checkpoint without one. Shots are turns of the conversation, or one text with the question.
  std::string chat_template;
  bool fewshot_as_multiturn = true;
  int64_t max_tokens = 0;  // of an answer, where a task generates; 0: the task's own
  // perplexity only: the named protocol (evaluators/windows.h)
  std::string protocol = "windows";
  int64_t window = 2048, stride = 0 /* 0: window */, windows = 0 /* most windows; 0: all */;
  int64_t decode = 0;  // of each window, read one at a time through the KV cache
  // layer_analysis: linears whose columns are kept one by one, by name or its last part
  std::vector<std::string> columns{};
};

struct TaskInput {
  const EvaluationSpec& spec;
  const Tokenizer& tokenizer;
  int64_t max_positions;    // the model's longest sequence
  std::string model_dir{};  // where a chat template is read, when the evaluation asks for one
};

// What a document shows of itself or its answer, for who reads them: question, output, ...
struct DocumentText {
  int64_t document = 0;
  std::string name, text;
};

class Task {
 public:
  virtual ~Task() = default;
  // In a fixed order that depends on the input only. Bad documents throw UserError with file, line, field.
  virtual std::vector<Request> requests() const = 0;
  // scores[i] belongs to requests()[i]. Deterministic.
  virtual std::vector<Metric> metrics(const std::vector<Score>& scores) const = 0;
  virtual std::string token_digest() const = 0;  // SHA-256 over all requests' ids and `from`s
  // Of a task that generates; none: requests are scored.
  virtual std::optional<Generation> generation() const { return std::nullopt; }
  virtual std::vector<DocumentText> texts(const std::vector<Score>&) const { return {}; }
};

struct TaskEntry {
  std::string help;
  int version = 1;          // raised when prompts or metrics change; part of the key
  std::string main_metric;  // what a table shows by default: perplexity, acc, word_perplexity
  bool lower_is_better = false;
  bool is_text = false;                 // reads a text file instead of JSON lines
  bool reads_windows = true;            // of that text: protocol, window, stride, windows, decode
  bool against_full_precision = false;  // scores need the unquantized model too
  bool looks_inside = false;            // an InsideTask (evaluators/inside_task.h)
  int64_t shots = 0;                    // where the evaluation says nothing of them
  bool generates = false;               // reads max_tokens
  std::function<std::unique_ptr<Task>(const TaskInput&)> make;
};
using TaskRegistry = Registry<TaskEntry>;

}  // namespace ptq
