#include "evaluators/windows.h"

#include <algorithm>

#include "core/error.h"

namespace ptq {
namespace {

using Join = WindowProtocol::Join;

const WindowProtocols::Registration windows(
    "windows",
    {"the file as it is, one token stream, no BOS, first token of each window unscored", Join::as_is, false});
const WindowProtocols::Registration papers(
    "papers", {"as windows, with the tokenizer's BOS once at the start of the stream", Join::as_is, true});
const WindowProtocols::Registration papers_wikitext(
    "papers_wikitext",
    {"as papers, the file's lines joined by a blank line as the hub's rows", Join::hub_rows, true});

}  // namespace

std::string join_rows(const std::string& text) {
  std::string joined;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin);
    if (begin > 0) joined += "\n\n";
    if (line.find_first_not_of(" \t\r") != std::string::npos) joined += line + "\n";
    begin = end + 1;
  }
  return joined;
}

std::vector<TokenWindow> cut_windows(int64_t tokens, int64_t window, int64_t stride, int64_t most) {
  PTQ_CHECK(window >= 2 && stride >= 0 && stride <= window && most >= 0);
  if (stride == 0) stride = window;
  std::vector<TokenWindow> result;
  for (int64_t begin = 0; begin <= tokens - window; begin += stride) {
    if (most > 0 && static_cast<int64_t>(result.size()) == most) break;
    result.push_back({begin, result.empty() ? 1 : std::max<int64_t>(1, window - stride)});
  }
  return result;
}

}  // namespace ptq
