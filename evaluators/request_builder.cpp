#include "evaluators/request_builder.h"

#include <algorithm>

#include "core/error.h"
#include "core/sha256.h"
#include "models/tokenizer/utf8.h"

namespace ptq {
namespace {

bool is_python_space(uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

}  // namespace

size_t length_without_trailing_space(std::string_view text) {
  while (!text.empty()) {
    const tokenizer::CodePoint last = tokenizer::last_code_point(text);
    if (!is_python_space(last.value)) break;
    text.remove_suffix(last.bytes);
  }
  return text.size();
}

std::string stripped(std::string_view text) {
  text = text.substr(0, length_without_trailing_space(text));
  while (!text.empty()) {
    const tokenizer::CodePoint first = tokenizer::code_point_at(text, 0);
    if (!is_python_space(first.value)) break;
    text.remove_prefix(first.bytes);
  }
  return std::string(text);
}

size_t count_code_points(std::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

RequestBuilder::RequestBuilder(const TaskInput& input)
    : tokenizer_(input.tokenizer), max_positions_(input.max_positions), prefix_(input.tokenizer.bos_id()) {
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
  if (request.ids.size() > longest)
    request.ids.erase(request.ids.begin(), request.ids.end() - static_cast<int64_t>(longest));
  request.from = static_cast<int64_t>(request.ids.size() - scored);
  return request;
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
