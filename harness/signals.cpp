#include "harness/signals.h"

namespace ptq {
namespace {

volatile sig_atomic_t flag = 0;
void on_signal(int) { flag = 1; }

}  // namespace

SignalGuard::SignalGuard() {
  flag = 0;
  struct sigaction action = {};
  action.sa_handler = on_signal;
  for (size_t i = 0; i < signals.size(); ++i) sigaction(signals[i], &action, &before_[i]);
}

SignalGuard::~SignalGuard() {
  for (size_t i = 0; i < signals.size(); ++i) sigaction(signals[i], &before_[i], nullptr);
}

bool signalled() { return flag != 0; }
void set_signalled() { flag = 1; }

}  // namespace ptq
