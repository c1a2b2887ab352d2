// Regular expressions of tokenizers: written for Oniguruma (Ruby syntax) by the `tokenizers` library, run
// here by PCRE2 with UTF, UCP and JIT. oniguruma.h translates; what has no exact counterpart is refused.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;
struct pcre2_real_match_context_8;
struct pcre2_real_jit_stack_8;

namespace ptq::tokenizer {

struct Span {
  size_t begin, end;  // bytes
};

// What a search needs beside the expression; not to be shared by threads.
class RegexScratch {
 public:
  RegexScratch();
  ~RegexScratch();
  RegexScratch(const RegexScratch&) = delete;
  RegexScratch& operator=(const RegexScratch&) = delete;

 private:
  friend class Regex;
  pcre2_real_match_data_8* data_;
  pcre2_real_match_context_8* context_;
  pcre2_real_jit_stack_8* stack_;
};

class Regex {
 public:
  // Throws UserError at `where` for a pattern that is malformed or uses a construct without exact
  // counterpart.
  Regex(const std::string& oniguruma_pattern, const Where& where);

  // All matches from left to right, not overlapping. An empty match right behind the match before it does not
  // count. The text must be valid UTF-8. Throws UserError when the search exceeds its limits of steps or
  // memory.
  void find_all(std::string_view text, RegexScratch& scratch, std::vector<Span>& matches) const;

 private:
  std::shared_ptr<const pcre2_real_code_8> code_;
  std::string pattern_;
};

}  // namespace ptq::tokenizer
