#include "models/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <new>

#include "models/tokenizer/oniguruma.h"
#include "models/tokenizer/utf8.h"

namespace ptq::tokenizer {
namespace {

constexpr uint32_t kMatchLimit = 1'000'000'000;  // steps of one match attempt
constexpr uint32_t kHeapLimitKiB =
    1024 * 1024;  // of the interpreter, when the compiled code runs out of stack
constexpr size_t kStackStart = 64 * 1024, kStackMax = 256 * 1024 * 1024;

std::string message_of(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

}  // namespace

RegexScratch::RegexScratch()
    : data_(pcre2_match_data_create(1, nullptr)),
      context_(pcre2_match_context_create(nullptr)),
      stack_(pcre2_jit_stack_create(kStackStart, kStackMax, nullptr)) {
  if (!data_ || !context_) throw std::bad_alloc();
  pcre2_set_match_limit(context_, kMatchLimit);
  pcre2_set_depth_limit(context_, kMatchLimit);
  pcre2_set_heap_limit(context_, kHeapLimitKiB);
  if (stack_) pcre2_jit_stack_assign(context_, nullptr, stack_);
}

RegexScratch::~RegexScratch() {
  pcre2_match_data_free(data_);
  pcre2_match_context_free(context_);
  if (stack_) pcre2_jit_stack_free(stack_);
}

Regex::Regex(const std::string& oniguruma_pattern, const Where& where) : pattern_(oniguruma_pattern) {
  const std::string translated = translate_oniguruma(oniguruma_pattern, where);
  const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), &pcre2_compile_context_free);
  if (!context) throw std::bad_alloc();
  pcre2_set_newline(context.get(),
                    PCRE2_NEWLINE_LF);  // what . and $ mean must not depend on how PCRE2 was built
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
                                   &offset, context.get());
  if (!code)
    throw UserError(where, "the regex '" + pattern_ + "' is not supported: " + message_of(error) +
                               " (PCRE2, at byte " + std::to_string(offset) + " of its translation '" +
                               translated + "')");
  code_ = std::shared_ptr<const pcre2_code>(
      code, [](const pcre2_code* c) { pcre2_code_free(const_cast<pcre2_code*>(c)); });
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // without JIT the interpreter gives the same matches
}

void Regex::find_all(std::string_view text, RegexScratch& scratch, std::vector<Span>& matches) const {
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const PCRE2_SIZE* found = pcre2_get_ovector_pointer(scratch.data_);
  size_t at = 0, last_end = SIZE_MAX;
  while (at <= text.size()) {
    int rc = pcre2_match(code_.get(), subject, text.size(), at, PCRE2_NO_UTF_CHECK, scratch.data_,
                         scratch.context_);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
      rc = pcre2_match(code_.get(), subject, text.size(), at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                       scratch.data_, scratch.context_);
    if (rc == PCRE2_ERROR_NOMATCH) return;
    if (rc < 0)
      throw UserError("the tokenizer's regex '" + pattern_ + "' failed at byte " + std::to_string(at) +
                      " of a text of " + std::to_string(text.size()) + " bytes: " + message_of(rc));
    const Span match{found[0], found[1]};
    if (match.begin == match.end && match.end == last_end) {
      at += at < text.size() ? code_point_at(text, at).bytes : 1;
      continue;
    }
    matches.push_back(match);
    at = last_end = match.end;
  }
}

}  // namespace ptq::tokenizer
