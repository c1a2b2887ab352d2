// RequestBuilder: a pair (context, continuation) of text as a scoring request, token for token as lm-eval
// 0.4.13 does for a causal Hugging Face model:
// - white space that ends the context moves to the continuation;
// - context and context + continuation are encoded each as a whole, with the tokenizer's own template (BOS
//   where it has one) unless the text begins with the prefix token's text; the continuation is what is longer
//   in the second;
// - an empty context becomes the prefix token (BOS, else EOS) and the continuation is encoded without the
// template;
// - more than max_positions + 1 ids are cut from the left: the last id is scored but never fed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "datasets/text.h"
#include "evaluators/task.h"

namespace ptq {

// What was built: `truncated` requests lost tokens of their context at the left.
struct RequestCounts {
  int64_t built = 0, truncated = 0;
};

class RequestBuilder {
 public:
  explicit RequestBuilder(const TaskInput& input);

  // `document` is named in errors: a continuation without a token of its own or longer than max_positions, an
  // empty context where the tokenizer has neither BOS nor EOS.
  Request build(std::string context, std::string continuation, const JsonDocument& document);
  // A context to be continued: its last ids, `longest` at most, without a shift of white space. An error when
  // it has none.
  Request build_prompt(const std::string& context, int64_t longest, const JsonDocument& document);
  // The ids of a text as lm-eval's models encode it: with the tokenizer's template unless it is there.
  std::vector<int32_t> encode(const std::string& text) const;
  std::optional<int32_t> prefix() const { return prefix_; }  // BOS, else EOS

  // What was built so far; a warning goes to the log when contexts were cut.
  RequestCounts finish() const;

 private:
  const Tokenizer& tokenizer_;
  std::string task_;
  int64_t max_positions_;
  std::optional<int32_t> prefix_;
  std::string prefix_text_;
  std::string last_context_;  // choices of one document share their context: it is encoded once
  std::vector<int32_t> last_context_ids_;
  RequestCounts counts_;
};

// Where `request` stands among those from `first` on, the document's; it is appended where none is equal:
// choices that come to the same ids share one, so that a tie is a tie to the last bit.
size_t place_of(Request request, std::vector<Request>& requests, size_t first);

// `truncated`, of `built`, behind the others, when there are any.
void append_truncated(std::vector<Metric>& metrics, const RequestCounts& counts);

// SHA-256 over the ids and `from` of every request, in order.
std::string digest_requests(const std::vector<Request>& requests);

}  // namespace ptq
