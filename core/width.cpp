#include "core/width.h"

#include <utf8proc.h>

#include <algorithm>

#include "core/error.h"

namespace ptq {
namespace {

struct Glyph {
  size_t bytes;
  int width;
};

Glyph first_glyph(std::string_view text) {
  utf8proc_int32_t point = 0;
  const auto bytes = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                      static_cast<utf8proc_ssize_t>(text.size()), &point);
  if (bytes <= 0) return {1, 1};
  return {static_cast<size_t>(bytes), std::max(0, utf8proc_charwidth(point))};
}

std::string spaces(std::string_view text, int width) {
  return std::string(static_cast<size_t>(std::max(0, width - display_width(text))), ' ');
}

}  // namespace

int display_width(std::string_view text) {
  int width = 0;
  while (!text.empty()) {
    const Glyph glyph = first_glyph(text);
    width += glyph.width;
    text.remove_prefix(glyph.bytes);
  }
  return width;
}

std::string clipped(std::string_view text, int width) {
  PTQ_CHECK(width >= 1);
  if (display_width(text) <= width) return std::string(text);
  size_t end = 0;
  for (int used = 0;;) {
    const Glyph glyph = first_glyph(text.substr(end));
    used += glyph.width;
    if (used > width - 1) break;  // the last column is the ellipsis
    end += glyph.bytes;
  }
  return std::string(text.substr(0, end)) + "…";
}

std::string padded_right(std::string_view text, int width) { return std::string(text) + spaces(text, width); }
std::string padded_left(std::string_view text, int width) { return spaces(text, width) + std::string(text); }

}  // namespace ptq
