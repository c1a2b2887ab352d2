#include "evaluators/request_builder.h"

#include "core/error.h"
#include "core/log.h"
#include "core/sha256.h"
#include "evaluators/python_text.h"

namespace ptq {
RequestBuilder::RequestBuilder(const TaskInput& input)
    : tokenizer_(input.tokenizer),
      task_(input.spec.task),
      max_positions_(input.max_positions),
      prefix_(input.tokenizer.bos_id()) {
  PTQ_CHECK(max_positions_ >= 1);
  if (!prefix_) prefix_ = tokenizer_.eos_id();
  if (prefix_) prefix_text_ = tokenizer_.decode(std::vector<int32_t>{*prefix_}, false);
}

std::vector<int32_t> RequestBuilder::encode(const std::string& text) const {
  const bool begins_with_prefix = prefix_ && text.starts_with(prefix_text_);
  return tokenizer_.encode(text, !begins_with_prefix);
}

Request RequestBuilder::build(std::string context, std::string continuation, const JsonDocument& document) {
  const auto fail = [&](const std::string& message) {
    throw UserError(Where{document.file, document.line, ""}, message);
  };
  Request request;
  size_t context_length = 0;
  if (context.empty()) {
    if (!prefix_)
      fail("the context is empty and the tokenizer has neither a BOS nor an EOS token to stand for it");
    request.ids = tokenizer_.encode(continuation, false);
    if (request.ids.empty() || request.ids.front() != *prefix_)
      request.ids.insert(request.ids.begin(), *prefix_);
    context_length = 1;
  } else {
    const size_t kept = length_without_trailing_space(context);
    continuation.insert(0, context, kept);
    context.resize(kept);
    if (context != last_context_ || last_context_ids_.empty()) {
      last_context_ids_ = encode(context);
      last_context_ = context;
    }
    context_length = last_context_ids_.size();
    const std::vector<int32_t> whole = encode(context + continuation);
    // The context's own ids, not the whole's: a token that spans the border counts for neither side.
    request.ids = last_context_ids_;
    if (whole.size() > context_length)
      request.ids.insert(request.ids.end(), whole.begin() + static_cast<int64_t>(context_length),
                         whole.end());
  }
  const size_t scored = request.ids.size() - context_length;
  if (context_length == 0) fail("the context has no token");
  if (scored == 0) fail("the continuation '" + continuation + "' has no token of its own after its context");
  if (scored > static_cast<size_t>(max_positions_))
    fail("a continuation has " + std::to_string(scored) + " tokens; the model has " +
         std::to_string(max_positions_) + " positions");
  const size_t longest = static_cast<size_t>(max_positions_) + 1;
  ++counts_.built;
  if (request.ids.size() > longest) {
    ++counts_.truncated;
    request.ids.erase(request.ids.begin(), request.ids.end() - static_cast<int64_t>(longest));
  }
  request.from = static_cast<int64_t>(request.ids.size() - scored);
  return request;
}

Request RequestBuilder::build_prompt(const std::string& context, int64_t longest,
                                     const JsonDocument& document) {
  Request request;
  request.ids = encode(context);
  if (request.ids.empty())
    throw UserError(Where{document.file, document.line, ""}, "the prompt has no token");
  ++counts_.built;
  const auto length = static_cast<int64_t>(request.ids.size());
  if (length > longest) {
    ++counts_.truncated;
    request.ids.erase(request.ids.begin(), request.ids.end() - longest);
  }
  request.from = static_cast<int64_t>(request.ids.size());
  return request;
}

RequestCounts RequestBuilder::finish() const {
  if (counts_.truncated > 0)
    log_warning(task_ + ": " + std::to_string(counts_.truncated) + " of " + std::to_string(counts_.built) +
                " requests are longer than the model's " + std::to_string(max_positions_) +
                " positions allow; their contexts are cut at the left");
  return counts_;
}

size_t place_of(Request request, std::vector<Request>& requests, size_t first) {
  size_t place = first;
  while (place < requests.size() &&
         (requests[place].ids != request.ids || requests[place].from != request.from))
    ++place;
  if (place == requests.size()) requests.push_back(std::move(request));
  return place;
}

void append_truncated(std::vector<Metric>& metrics, const RequestCounts& counts) {
  if (counts.truncated > 0)
    metrics.push_back({"truncated", static_cast<double>(counts.truncated), -1, counts.built});
}

std::string digest_requests(const std::vector<Request>& requests) {
  Sha256 hash;
  for (const Request& request : requests) {
    const int64_t shape[] = {static_cast<int64_t>(request.ids.size()), request.from};
    hash.update(shape, sizeof shape);
    hash.update(request.ids.data(), request.ids.size() * sizeof(int32_t));
  }
  return hash.hex();
}

}  // namespace ptq
