#include <mpi.h>

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdlib>
#include <deque>
#include <list>

#include "core/comm/communicator.h"
#include "core/comm/pause.h"
#include "core/comm/tensor_channel.h"
#include "core/error.h"

namespace ptq {
namespace {

constexpr size_t message_bytes = size_t{1} << 30;  // MPI counts are int
constexpr size_t bytes_piece = size_t{1} << 20;    // broadcast strings travel in pieces
// Pieces of this size are sent before the receiver asks for them; below Open MPI's own limit for that.
constexpr size_t eager_bytes = 2048;

bool done(MPI_Request& request, MPI_Status* status = MPI_STATUS_IGNORE) {
  int done = 0;
  MPI_Test(&request, &done, status);
  return done;
}

// Until another rank is there: asleep.
void wait(MPI_Request& request) {
  for (Pause pause; !done(request); pause()) {
  }
}

// While both ranks are at it: Open MPI moves data only inside its calls, and a sleep between two of them
// costs more than 90% of the speed. Back to sleep when it takes longer than a crowded machine needs.
void wait_for_transfer(MPI_Request& request, size_t bytes, MPI_Status* status = MPI_STATUS_IGNORE) {
  const auto patience = std::chrono::milliseconds(20 + bytes / 50'000);  // 50 MB/s
  const auto until = std::chrono::steady_clock::now() + patience;
  while (!done(request, status)) {
    if (std::chrono::steady_clock::now() < until) ::sched_yield();
    else std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

struct Sending {
  std::string bytes;
  MPI_Request request;
};

// MPI from its start to its end: lives as long as the last communicator.
struct Session {
  Session() {
    int provided = 0;
    PTQ_CHECK_EQ(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided), MPI_SUCCESS);
    if (provided < MPI_THREAD_MULTIPLE) {
      MPI_Finalize();
      throw UserError(
          "this MPI library does not let several threads call it (MPI_THREAD_MULTIPLE): build it with "
          "threads");
    }
    MPI_Comm machine;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine);
    MPI_Comm_rank(machine, &local_rank);
    MPI_Comm_free(&machine);
    // Orphans of a killed mpirun would hold the database's lock and the cores.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  }
  ~Session() { MPI_Finalize(); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  int local_rank = 0;
  std::list<Sending> abandoned;  // still in MPI's hands when their communicator went
};

// Carries tensors in a context of its own: poll() takes any message of any sender, and must never take a
// piece of a tensor.
class MpiTensorChannel : public TensorChannel {
 public:
  explicit MpiTensorChannel(MPI_Comm comm) {
    MPI_Comm_dup(comm, &comm_);
    MPI_Comm_rank(comm_, &rank_);
    MPI_Comm_size(comm_, &size_);
  }
  ~MpiTensorChannel() override { MPI_Comm_free(&comm_); }

  void send(const at::Tensor& piece, int to) override { send(piece.data_ptr(), piece.nbytes(), to); }
  void receive(at::Tensor& piece, int from) override { receive(piece.data_ptr(), piece.nbytes(), from); }
  void broadcast(at::Tensor& piece, int root) override { broadcast(piece.data_ptr(), piece.nbytes(), root); }

  // A binomial tree from the root: log2(ranks) transfers one after another.
  void broadcast(void* data, size_t bytes, int root) {
    const int place = (rank_ - root + size_) % size_;
    int step = 1;
    for (; step < size_; step *= 2)
      if (place & step) {
        receive(data, bytes, (rank_ - step + size_) % size_);
        break;
      }
    for (step /= 2; step > 0; step /= 2)
      if (place + step < size_) send(data, bytes, (rank_ + step) % size_);
  }

 private:
  enum Tag { piece = 0, ready = 1 };

  void send(const void* data, size_t bytes, int to) {
    MPI_Request request;
    if (bytes > eager_bytes) {
      MPI_Irecv(nullptr, 0, MPI_BYTE, to, ready, comm_, &request);
      wait(request);
    }
    MPI_Isend(data, static_cast<int>(bytes), MPI_BYTE, to, piece, comm_, &request);
    wait_for_transfer(request, bytes);
  }

  void receive(void* data, size_t bytes, int from) {
    MPI_Request request;
    if (bytes > eager_bytes) {
      MPI_Isend(nullptr, 0, MPI_BYTE, from, ready, comm_, &request);
      wait(request);
    }
    int found = 0;
    for (Pause pause; MPI_Iprobe(from, piece, comm_, &found, MPI_STATUS_IGNORE), !found;) pause();
    MPI_Status status;
    MPI_Irecv(data, static_cast<int>(bytes), MPI_BYTE, from, piece, comm_, &request);
    wait_for_transfer(request, bytes, &status);
    int received = 0;
    MPI_Get_count(&status, MPI_BYTE, &received);
    PTQ_CHECK_EQ(static_cast<size_t>(received), bytes);
  }

  MPI_Comm comm_;
  int rank_ = 0, size_ = 1;
};

class MpiCommunicator : public Communicator {
 public:
  MpiCommunicator(std::shared_ptr<Session> session, MPI_Comm comm)
      : session_(std::move(session)), comm_(comm), tensors_(comm) {
    MPI_Comm_rank(comm_, &rank_);
    MPI_Comm_size(comm_, &size_);
  }
  ~MpiCommunicator() override {
    drop_delivered();
    session_->abandoned.splice(session_->abandoned.end(), sending_);
    if (comm_ != MPI_COMM_WORLD) MPI_Comm_free(&comm_);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  int local_rank() const override { return session_->local_rank; }

  void barrier() override {
    MPI_Request request;
    MPI_Ibarrier(comm_, &request);
    wait(request);
  }

  void broadcast(std::string& bytes, int root) override {
    unsigned long long count = bytes.size();
    MPI_Request request;
    MPI_Ibcast(&count, 1, MPI_UNSIGNED_LONG_LONG, root, comm_, &request);
    wait(request);
    bytes.resize(count);
    broadcast_bytes(bytes, root);
  }

  std::vector<std::string> all_gather(const std::string& bytes) override {
    const unsigned long long count = bytes.size();
    std::vector<unsigned long long> counts(size_);
    MPI_Request request;
    MPI_Iallgather(&count, 1, MPI_UNSIGNED_LONG_LONG, counts.data(), 1, MPI_UNSIGNED_LONG_LONG, comm_,
                   &request);
    wait(request);
    std::vector<std::string> parts(size_);
    for (int root = 0; root < size_; ++root) {
      if (root == rank_) parts[root] = bytes;
      else parts[root].resize(counts[root]);
      broadcast_bytes(parts[root], root);
    }
    return parts;
  }

  std::unique_ptr<Communicator> split(int color, int key) override {
    barrier();  // MPI_Comm_split spins until the last rank is there
    MPI_Comm group;
    MPI_Comm_split(comm_, color < 0 ? MPI_UNDEFINED : color, key, &group);
    if (group == MPI_COMM_NULL) return nullptr;
    return std::make_unique<MpiCommunicator>(session_, group);
  }

  void send(int to, int tag, std::string bytes) override {
    if (to == rank_) {
      to_self_.push_back({rank_, tag, std::move(bytes)});
      return;
    }
    PTQ_CHECK(bytes.size() <= message_bytes,
              "messages between ranks are small; large data goes through files");
    Sending& sending = sending_.emplace_back();
    sending.bytes = std::move(bytes);
    // Ready when the receiver has it, so that flush() means delivered.
    MPI_Issend(sending.bytes.data(), static_cast<int>(sending.bytes.size()), MPI_BYTE, to, tag, comm_,
               &sending.request);
  }

  std::optional<Message> poll() override {
    drop_delivered();
    if (!to_self_.empty()) {
      Message message = std::move(to_self_.front());
      to_self_.pop_front();
      return message;
    }
    int found = 0;
    MPI_Status status;
    MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, comm_, &found, &status);
    if (!found) return std::nullopt;
    int count = 0;
    MPI_Get_count(&status, MPI_BYTE, &count);
    Message message{status.MPI_SOURCE, status.MPI_TAG, std::string(count, '\0')};
    MPI_Recv(message.bytes.data(), count, MPI_BYTE, message.source, message.tag, comm_, MPI_STATUS_IGNORE);
    return message;
  }

  void flush() override {
    for (Pause pause; !sending_.empty(); pause()) drop_delivered();
  }

  void abort(int code) override {
    MPI_Abort(MPI_COMM_WORLD, code);
    std::abort();
  }

  TensorChannel& tensor_channel(const at::Tensor& tensor) override {
    if (!tensor.device().is_cpu())
      throw UserError("MPI carries CPU tensors only, this one is on " + tensor.device().str() +
                      ": use NCCL for it");
    return tensors_;
  }

 private:
  void broadcast_bytes(std::string& bytes, int root) {
    for (size_t at = 0; at < bytes.size(); at += bytes_piece)
      tensors_.broadcast(bytes.data() + at, std::min(bytes_piece, bytes.size() - at), root);
  }

  void drop_delivered() {
    for (auto it = sending_.begin(); it != sending_.end();) {
      int done = 0;
      MPI_Test(&it->request, &done, MPI_STATUS_IGNORE);
      it = done ? sending_.erase(it) : std::next(it);
    }
  }

  std::shared_ptr<Session> session_;
  MPI_Comm comm_;
  MpiTensorChannel tensors_;
  int rank_ = 0, size_ = 1;
  std::list<Sending> sending_;
  std::deque<Message> to_self_;
};

bool launched_by_mpi() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"})
    if (std::getenv(name)) return true;
  return false;
}

}  // namespace

std::unique_ptr<Communicator> make_world() {
  if (launched_by_mpi())
    return std::make_unique<MpiCommunicator>(std::make_shared<Session>(), MPI_COMM_WORLD);
  const char* slurm_rank = std::getenv("SLURM_PROCID");
  const char* slurm_tasks = std::getenv("SLURM_STEP_NUM_TASKS");
  if (slurm_rank && slurm_tasks && std::atoi(slurm_tasks) > 1)
    throw UserError(
        "srun started several tasks without MPI, so each would be a run of its own: use mpirun inside the "
        "allocation, or "
        "srun --mpi=pmix");
  return make_self_communicator();
}

std::string mpi_version() {
  int initialized = 0;
  MPI_Initialized(&initialized);
  if (!initialized) return "";
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  MPI_Get_library_version(text, &length);
  std::string version(text, length);
  return version.substr(0, version.find(','));
}

}  // namespace ptq
