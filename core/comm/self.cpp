#include <cstdlib>
#include <deque>
#include <unistd.h>

#include "core/comm/communicator.h"
#include "core/error.h"

namespace ptq {
namespace {

class SelfCommunicator : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void barrier() override {}
  void broadcast(std::string&, int root) override { PTQ_CHECK_EQ(root, 0); }
  std::vector<std::string> all_gather(const std::string& bytes) override { return {bytes}; }
  void send(int to, int tag, std::string bytes) override {
    PTQ_CHECK_EQ(to, 0);
    inbox_.push_back({0, tag, std::move(bytes)});
  }
  std::optional<Message> poll() override {
    if (inbox_.empty()) return std::nullopt;
    Message message = std::move(inbox_.front());
    inbox_.pop_front();
    return message;
  }
  void flush() override {}
  void abort(int code) override { ::_exit(code); }

 private:
  std::deque<Message> inbox_;
};

}  // namespace

std::unique_ptr<Communicator> make_self_communicator() { return std::make_unique<SelfCommunicator>(); }

}  // namespace ptq
