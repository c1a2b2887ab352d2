#include "core/log.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>

namespace ptq {
namespace {

LogOptions& options() {
  static LogOptions value;
  return value;
}

void write_line(LogLevel level, const char* label, const std::string& message) {
  if (level < options().level) return;
  static const auto start = std::chrono::steady_clock::now();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  char head[64];
  if (options().rank >= 0)
    std::snprintf(head, sizeof head, "[%8.1f s] rank %d %s", seconds, options().rank, label);
  else
    std::snprintf(head, sizeof head, "[%8.1f s] %s", seconds, label);
  // On a terminal a progress line may stand there (core/progress.h): it is wiped out, not written over in part.
  static const bool terminal = ::isatty(STDERR_FILENO) == 1;
  const std::string line = (terminal ? "\r\x1b[K" : "") + std::string(head) + message + "\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace

void set_log_options(const LogOptions& value) { options() = value; }
const LogOptions& log_options() { return options(); }
void log_debug(const std::string& m) { write_line(LogLevel::debug, "debug: ", m); }
void log_info(const std::string& m) { write_line(LogLevel::info, "", m); }
void log_warning(const std::string& m) { write_line(LogLevel::warning, "warning: ", m); }
void log_error(const std::string& m) { write_line(LogLevel::error, "error: ", m); }

}  // namespace ptq
