// Columns that UTF-8 text takes on a terminal, for aligned tables and one-line progress.
// Invalid bytes count one column each; control characters count none.
#pragma once

#include <string>
#include <string_view>

namespace ptq {

int display_width(std::string_view text);

// The text itself when it fits into `width` columns (>= 1), else its beginning with "…" as the last column.
std::string clipped(std::string_view text, int width);

// Filled with spaces on the right (left) to `width` columns; longer text is returned as it is.
std::string padded_right(std::string_view text, int width);
std::string padded_left(std::string_view text, int width);

}  // namespace ptq
