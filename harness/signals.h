// SIGINT, SIGTERM and SIGUSR1 as a flag, for work that ends in an orderly way. (mpirun hands SIGUSR1 on to
// all ranks and returns their exit code; on SIGTERM it ends them too, but returns its own.)
#pragma once

#include <signal.h>

#include <array>

namespace ptq {

// While one lives, those signals only set the flag, which its beginning clears. One at a time.
class SignalGuard {
 public:
  SignalGuard();
  ~SignalGuard();
  SignalGuard(const SignalGuard&) = delete;

 private:
  static constexpr std::array<int, 3> signals = {SIGINT, SIGTERM, SIGUSR1};
  std::array<struct sigaction, 3> before_;
};

bool signalled();
void set_signalled();  // as if a signal had come: another rank has had one

}  // namespace ptq
