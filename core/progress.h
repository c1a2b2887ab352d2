// Progress of a run: on a terminal one line that is rewritten, elsewhere a plain line now and then (the first, the last,
// and at most one per `interval` between them), so that a log stays short.
//
//   quantize 12/48  34 %  1:20 elapsed, 2:35 left  w4g64 gptq story
//
// The percentage and the time left come from work weights, not from the count of items. One object per process that
// should be heard (rank 0): the others make none. Not thread-safe. Never throws; a write that fails is forgotten.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace ptq {

struct ProgressOptions {
  int fd = 2;                     // stderr
  std::optional<bool> terminal;   // default: whether fd is one
  int width = 0;                  // columns; 0: the terminal's, or 80
  double interval = 30;           // seconds between plain lines
  int64_t items = 0;              // how many add() calls make the whole; 0: no count is shown
  std::function<double()> clock;  // seconds, steady; default: the system's steady clock
};

class Progress {
 public:
  // total_work: the sum of all weights that add() will be given, in any unit; 0: nothing is to be done.
  Progress(double total_work, std::string label, ProgressOptions options = {});
  ~Progress();  // ends the terminal's line when finish() was not called (a failure), without claiming the end
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // One item of weight `work` >= 0 is done. `what` names it, or what comes next.
  void add(double work, const std::string& what);
  // All is done: the last line. Once.
  void finish();

 private:
  std::string line(double now, const std::string& what) const;
  void show(double now, const std::string& what, bool last);

  double total_, done_ = 0;
  int64_t items_done_ = 0;
  std::string label_;
  ProgressOptions options_;
  double start_, shown_;
  bool open_ = false;  // a terminal line without its end stands there
  bool finished_ = false;
};

// "0:07", "12:34", "3:02:01": whole seconds, rounded down.
std::string clock_text(double seconds);

}  // namespace ptq
