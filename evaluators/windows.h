// Named protocols of perplexity: how a text becomes a token stream and the stream windows. A protocol fixes
// join and BOS; window, stride and the number of windows are the user's. docs/evaluation.md compares them
// with other tools' figures.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/registry.h"

namespace ptq {

struct WindowProtocol {
  std::string help;
  // as_is: the corpus as read_corpus gives it. hub_rows: WikiText's lines as the hub's rows (a row keeps its
  // line feed, a blank line is an empty row), joined by a blank line as the quantization papers do.
  enum class Join { as_is, hub_rows } join = Join::as_is;
  bool special_tokens =
      false;  // the tokenizer's own template round the whole stream, once: one BOS where it has one
};
using WindowProtocols = Registry<WindowProtocol>;

std::string join_rows(const std::string& text);  // Join::hub_rows

struct TokenWindow {
  int64_t begin = 0;  // in the stream
  int64_t from = 1;   // first scored position inside the window
};

// Windows of `window` tokens that begin every `stride` tokens (0: window), at most `most` of them (0: all);
// what does not fill a window is dropped. The first window is scored from its second token; with stride <
// window, later ones are scored in their last `stride` tokens only, so that no token is scored twice (the
// usual strided evaluation). Requires window >= 2, 0 <= stride <= window, most >= 0. Empty when tokens <
// window.
std::vector<TokenWindow> cut_windows(int64_t tokens, int64_t window, int64_t stride, int64_t most);

}  // namespace ptq
