#include "core/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <utility>

#include "core/width.h"

namespace ptq {
namespace {

constexpr double terminal_interval = 0.1;  // seconds: faster than this nobody reads, and slow links lag

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int terminal_width(int fd) {
  struct winsize size {};
  return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void write_all(int fd, const std::string& text) {
  [[maybe_unused]] const auto written = ::write(fd, text.data(), text.size());
}

// One line: what a caller passes may hold a line end (a file's name, an error).
std::string one_line(std::string text) {
  std::replace_if(text.begin(), text.end(), [](unsigned char c) { return c < 32 || c == 127; }, ' ');
  return text;
}

}  // namespace

std::string clock_text(double seconds) {
  const auto whole = static_cast<long long>(std::clamp(seconds, 0.0, 1e12));
  char text[64];
  if (whole < 3600)
    std::snprintf(text, sizeof text, "%lld:%02lld", whole / 60, whole % 60);
  else
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
  return text;
}

Progress::Progress(double total_work, std::string label, ProgressOptions options)
    : total_(total_work), label_(one_line(std::move(label))), options_(std::move(options)) {
  if (!options_.clock) options_.clock = steady_seconds;
  if (!options_.terminal) options_.terminal = isatty(options_.fd) == 1;
  if (options_.width <= 0) options_.width = *options_.terminal ? terminal_width(options_.fd) : 80;
  start_ = options_.clock();
  shown_ = start_;
  show(start_, "", false);
}

Progress::~Progress() {
  if (open_) write_all(options_.fd, "\n");
}

std::string Progress::line(double now, const std::string& what) const {
  const double share = total_ > 0 ? std::clamp(done_ / total_, 0.0, 1.0) : 1.0;
  const double elapsed = now - start_;
  std::string text = label_;
  if (options_.items > 0) text += " " + std::to_string(items_done_) + "/" + std::to_string(options_.items);
  // 100 % is said of the whole only: 99.7 % is 99.
  text += "  " + std::to_string(static_cast<int>(std::floor(100 * share))) + " %  " + clock_text(elapsed) + " elapsed";
  if (!finished_ && share > 0 && share < 1) text += ", " + clock_text(elapsed * (1 - share) / share) + " left";
  if (!what.empty()) text += "  " + what;
  return text;
}

void Progress::show(double now, const std::string& what, bool last) {
  shown_ = now;
  const std::string text = line(now, one_line(what));
  if (!*options_.terminal) {
    write_all(options_.fd, text + "\n");
    return;
  }
  // The cursor goes back to the line's start after writing, so that a log line written next covers this one instead of
  // continuing it. One column stays free: a full line makes some terminals wrap.
  write_all(options_.fd, "\r\x1b[K" + clipped(text, std::max(1, options_.width - 1)) + (last ? "\n" : "\r"));
  open_ = !last;
}

void Progress::add(double work, const std::string& what) {
  done_ += work;
  ++items_done_;
  const double now = options_.clock();
  if (now - shown_ >= (*options_.terminal ? terminal_interval : options_.interval)) show(now, what, false);
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  done_ = total_;
  show(options_.clock(), "", true);
}

}  // namespace ptq
