#include "models/tokenizer/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <new>

#include "core/error.h"
#include "models/tokenizer/unicode_tables.h"
#include "models/tokenizer/utf8.h"

namespace ptq::tokenizer {
namespace {

template <size_t N>
bool contains(const CodePointRange (&ranges)[N], uint32_t c) {
  const auto after =
      std::upper_bound(std::begin(ranges), std::end(ranges), c,
                       [](uint32_t value, const CodePointRange& range) { return value < range.first; });
  return after != std::begin(ranges) && c <= std::prev(after)->last;
}

bool in_category(uint32_t c, utf8proc_category_t first, utf8proc_category_t last) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category >= first && category <= last;
}

// Below this every character is a starter that neither changes nor joins with what stands before it.
uint32_t inert_below(NormalForm form) {
  switch (form) {
    case NormalForm::nfc:
      return 0x300;
    case NormalForm::nfd:
      return 0xC0;
    case NormalForm::nfkc:
    case NormalForm::nfkd:
      return 0xA0;
  }
  return 0;
}

utf8proc_option_t options_of(NormalForm form) {
  int options = UTF8PROC_STABLE;
  options |= form == NormalForm::nfc || form == NormalForm::nfkc ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  if (form == NormalForm::nfkc || form == NormalForm::nfkd) options |= UTF8PROC_COMPAT;
  return static_cast<utf8proc_option_t>(options);
}

void append_normalized(std::string& out, std::string_view text, utf8proc_option_t options) {
  utf8proc_uint8_t* result = nullptr;
  const auto length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                   static_cast<utf8proc_ssize_t>(text.size()), &result, options);
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(result, &std::free);
  if (length == UTF8PROC_ERROR_NOMEM) throw std::bad_alloc();
  if (length < 0) throw InternalError(std::string("utf8proc: ") + utf8proc_errmsg(length));
  out.append(reinterpret_cast<const char*>(result), static_cast<size_t>(length));
}

}  // namespace

bool is_white_space(uint32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_numeric(uint32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  return in_category(c, UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO);
}

bool is_punctuation(uint32_t c) {
  if (c < 0x80)
    return (c > ' ' && c < '0') || (c > '9' && c < 'A') || (c > 'Z' && c < 'a') || (c > 'z' && c < 0x7F);
  if (c == 0x166D || c == 0x111C9) return true;  // were punctuation in Unicode 8
  return in_category(c, UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PO) && !contains(kUnknownPunctuation, c);
}

bool is_accent(uint32_t c) {
  if (c < 0x300) return false;
  if (c == 0x1CF2 || c == 0x1CF3) return true;  // were marks in Unicode 8
  return in_category(c, UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_ME) && !contains(kKeptMarks, c);
}

void append_lowercase(std::string& out, uint32_t c) {
  if (c == 0x130) {
    out += "i\xCC\x87";
    return;
  }
  append_utf8(out, static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
}

std::string normalize(std::string_view text, NormalForm form) {
  const uint32_t limit = inert_below(form);
  const auto options = options_of(form);
  std::string out;
  out.reserve(text.size());
  size_t begin = 0;  // of the stretch not yet written
  size_t last_inert =
      0;  // the stretch's last inert character: the only one that may join with a changing one after it
  bool changing = false;  // whether the stretch, from its first character on, may change
  const auto write_until = [&](size_t end) {
    const auto stretch = text.substr(begin, end - begin);
    if (changing) append_normalized(out, stretch, options);
    else out.append(stretch);
    begin = last_inert = end;
    changing = false;
  };
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    if (c.value < limit) {
      if (changing) write_until(at);
      last_inert = at;
    } else if (contains(kInertInNormalForms, c.value)) {
      write_until(at);
      out.append(text.substr(at, c.bytes));
      begin = last_inert = at + c.bytes;
    } else if (!changing) {
      write_until(last_inert);
      changing = true;
    }
    at += c.bytes;
  }
  write_until(text.size());
  return out;
}

}  // namespace ptq::tokenizer
