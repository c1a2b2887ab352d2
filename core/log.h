// Log lines to stderr, one write(2) a line, with seconds since the start and the rank. stdout is for results only.
#pragma once

#include <string>

namespace ptq {

enum class LogLevel { debug, info, warning, error };

// The lowest level that is written; default info. `rank` < 0: no rank is shown.
struct LogOptions {
  LogLevel level = LogLevel::info;
  int rank = -1;
};
void set_log_options(const LogOptions& options);  // before threads start
const LogOptions& log_options();

void log_debug(const std::string& message);
void log_info(const std::string& message);
void log_warning(const std::string& message);
void log_error(const std::string& message);

}  // namespace ptq
