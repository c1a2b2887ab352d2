// How a rank waits: a few looks at once, then sleeps that grow to a millisecond. A spinning rank would take
// the core from a working one.
#pragma once

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <thread>

namespace ptq {

class Pause {
 public:
  // Call between two looks at what is waited for.
  void operator()() {
    if (looks_ < eager_looks) {
      ++looks_;
      ::sched_yield();
      return;
    }
    std::this_thread::sleep_for(length_);
    length_ = std::min(length_ * 2, std::chrono::microseconds(1000));
  }

 private:
  static constexpr int eager_looks = 20;
  int looks_ = 0;
  std::chrono::microseconds length_{10};
};

}  // namespace ptq
