#include "core/comm/nccl.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "core/comm/pause.h"
#include "core/comm/tensor_channel.h"
#include "core/error.h"

namespace ptq {
namespace {

class NcclChannel : public TensorChannel {
 public:
  // messages: for this channel alone.
  NcclChannel(std::unique_ptr<Communicator> messages, const NcclApi& api, const NcclOptions& options)
      : messages_(std::move(messages)), api_(api), device_(options.device), deadline_(options.deadline) {}

  ~NcclChannel() override {
    if (!comm_) return;
    // While an error is thrown the others may never come to the destruction, which NCCL does together.
    if (std::uncaught_exceptions()) api_.comm_abort(comm_);
    else api_.comm_destroy(comm_);
  }

  void connect(const NcclUniqueId& id) {
    NcclConfig config;
    operation_ = "initialization";
    settle(api_.comm_init_rank_config(&comm_, messages_->size(), id, messages_->rank(), &config));
  }

  void begin(const std::string& operation) override {
    if (!failure_.empty()) throw UserError("NCCL was aborted before: " + failure_);
    operation_ = operation;
    meet();
  }

  void end() override {
    for (Wait wait(*this); !idle(); wait()) throw_if(async_error());
    settle(async_error());
  }

  void send(const at::Tensor& piece, int to) override {
    settle(api_.send(piece.data_ptr(), piece.nbytes(), nccl_uint8, to, comm_, device_.stream()));
  }
  void receive(at::Tensor& piece, int from) override {
    settle(api_.receive(piece.data_ptr(), piece.nbytes(), nccl_uint8, from, comm_, device_.stream()));
  }
  void broadcast(at::Tensor& piece, int root) override {
    settle(api_.broadcast(piece.data_ptr(), piece.data_ptr(), piece.nbytes(), nccl_uint8, root, comm_,
                          device_.stream()));
  }

 private:
  enum Tag { here = 1, go = 2, aborted = 3 };

  // A look-out within the deadline; call between two looks at NCCL.
  class Wait {
   public:
    explicit Wait(NcclChannel& channel)
        : channel_(channel), until_(std::chrono::steady_clock::now() + channel.deadline_) {}
    void operator()() {
      channel_.listen();
      if (std::chrono::steady_clock::now() > until_)
        channel_.fail("not done after " + std::to_string(channel_.deadline_.count()) + " ms");
      pause_();
    }

   private:
    NcclChannel& channel_;
    std::chrono::steady_clock::time_point until_;
    Pause pause_;
  };

  // All ranks are here when it returns. Asleep, without a deadline: another rank may be at work.
  void meet() {
    const int size = messages_->size();
    if (messages_->rank() == 0) {
      for (Pause pause; static_cast<int>(arrived_.size()) < size - 1; pause()) listen();
      const std::vector<Message> arrived = std::exchange(arrived_, {});
      for (const Message& message : arrived)
        if (message.bytes != operation_)
          fail("rank " + std::to_string(message.source) + " called " + message.bytes + " instead");
      for (int rank = 1; rank < size; ++rank) messages_->send(rank, go, "");
    } else {
      messages_->send(0, here, operation_);
      for (Pause pause; !may_go_; pause()) listen();
      may_go_ = false;
    }
  }

  void listen() {
    while (std::optional<Message> message = messages_->poll()) {
      if (message->tag == aborted) give_up(message->bytes);
      if (message->tag == go) may_go_ = true;
      if (message->tag == here)
        arrived_.push_back(std::move(*message));  // perhaps for the next operation already
    }
  }

  // A communicator that does not block answers "in progress" to any call: wait for what became of it.
  void settle(NcclResult result) {
    for (Wait wait(*this); result == nccl_in_progress; wait()) result = async_error();
    throw_if(result);
  }
  NcclResult async_error() {
    NcclResult state = nccl_success;
    const NcclResult asked = api_.comm_get_async_error(comm_, &state);
    return asked != nccl_success ? asked : state;
  }
  void throw_if(NcclResult result) {
    if (result == nccl_success || result == nccl_in_progress) return;
    const char* detail = api_.get_last_error(comm_);  // of this thread: NCCL takes no communicator for it yet
    fail(std::string(api_.get_error_string(result)) +
         (detail && *detail ? std::string(" (") + detail + ")" : ""));
  }
  bool idle() {
    try {
      return device_.idle();
    } catch (const std::exception& e) {
      const std::string text = e.what();
      fail("the device: " + text.substr(0, text.find('\n')));
    }
  }

  [[noreturn]] void fail(const std::string& reason) {
    const std::string message =
        "rank " + std::to_string(messages_->rank()) + ": NCCL " + operation_ + ": " + reason;
    for (int rank = 0; rank < messages_->size(); ++rank)
      if (rank != messages_->rank()) messages_->send(rank, aborted, message);
    give_up(message);
  }
  [[noreturn]] void give_up(const std::string& message) {
    failure_ = message;
    if (comm_) api_.comm_abort(comm_);
    comm_ = nullptr;
    throw UserError(message);
  }

  std::unique_ptr<Communicator> messages_;
  NcclApi api_;
  NcclDevice device_;
  std::chrono::milliseconds deadline_;
  NcclComm comm_ = nullptr;
  std::string operation_, failure_;
  std::vector<Message> arrived_;  // on rank 0
  bool may_go_ = false;
};

class NcclCommunicator : public Communicator {
 public:
  // Collective; every rank throws what went wrong on any.
  NcclCommunicator(std::unique_ptr<Communicator> control, const NcclOptions& options)
      : control_(std::move(control)), options_(options) {
    NcclApi api;
    std::string id(sizeof(NcclUniqueId), '\0'), problem;
    try {
      api = options_.load();
      select_device();
      if (rank() == 0) make_unique_id(api, id);
    } catch (const UserError& e) {
      problem = e.what();
    }
    agree(problem);
    options_.load = [api] { return api; };

    channel_ = std::make_unique<NcclChannel>(control_->split(0, rank()), api, options_);
    control_->broadcast(id, 0);
    control_->barrier();  // NCCL's own connections must not begin while others still wait for the id
    NcclUniqueId unique_id;
    std::copy(id.begin(), id.end(), unique_id.internal);
    channel_->connect(unique_id);
  }

  int rank() const override { return control_->rank(); }
  int size() const override { return control_->size(); }
  int local_rank() const override { return control_->local_rank(); }
  void barrier() override { control_->barrier(); }
  void broadcast(std::string& bytes, int root) override { control_->broadcast(bytes, root); }
  std::vector<std::string> all_gather(const std::string& bytes) override {
    return control_->all_gather(bytes);
  }
  void send(int to, int tag, std::string bytes) override { control_->send(to, tag, std::move(bytes)); }
  std::optional<Message> poll() override { return control_->poll(); }
  void flush() override { control_->flush(); }
  void abort(int code) override { control_->abort(code); }

  std::unique_ptr<Communicator> split(int color, int key) override {
    std::unique_ptr<Communicator> group = control_->split(color, key);
    return group ? std::make_unique<NcclCommunicator>(std::move(group), options_) : nullptr;
  }

  TensorChannel& tensor_channel(const at::Tensor& tensor) override {
    if (tensor.device().type() == options_.device.type) return *channel_;
    return control_->tensor_channel(tensor);
  }

 private:
  void select_device() {
    const int devices = options_.device.count();
    if (local_rank() >= devices)
      throw UserError("needs a GPU for each rank: this is rank " + std::to_string(local_rank()) +
                      " (from 0) of its machine, which has " + std::to_string(devices));
    options_.device.select(local_rank());
  }
  static void make_unique_id(const NcclApi& api, std::string& bytes) {
    NcclUniqueId id;
    const NcclResult result = api.get_unique_id(&id);
    if (result != nccl_success)
      throw UserError(std::string("NCCL makes no unique id: ") + api.get_error_string(result));
    bytes.assign(id.internal, sizeof(id.internal));
  }
  // A rank that threw alone would leave the others waiting for it.
  void agree(const std::string& problem) {
    const std::vector<std::string> problems = control_->all_gather(problem);
    for (size_t rank = 0; rank < problems.size(); ++rank)
      if (!problems[rank].empty()) throw UserError("rank " + std::to_string(rank) + ": " + problems[rank]);
  }

  std::unique_ptr<Communicator> control_;
  NcclOptions options_;
  std::unique_ptr<NcclChannel> channel_;  // goes before control_
};

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> control,
                                                     const NcclOptions& options) {
  return std::make_unique<NcclCommunicator>(std::move(control), options);
}

}  // namespace ptq
