#include <mpi.h>

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdlib>
#include <deque>
#include <list>
#include <thread>

#include "core/comm/communicator.h"
#include "core/error.h"

namespace ptq {
namespace {

// MPI counts are int: longer messages travel in pieces of this many bytes.
constexpr size_t piece_bytes = size_t{1} << 30;

void wait(MPI_Request& request) {
  for (auto pause = std::chrono::microseconds(10);; pause = std::min(pause * 2, std::chrono::microseconds(1000))) {
    int done = 0;
    MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    if (done) return;
    std::this_thread::sleep_for(pause);
  }
}

class MpiCommunicator : public Communicator {
 public:
  MpiCommunicator() {
    int provided = 0;
    PTQ_CHECK_EQ(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), MPI_SUCCESS);
    PTQ_CHECK(provided >= MPI_THREAD_FUNNELED);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
    // Orphans of a killed mpirun would hold the database's lock and the cores.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  }
  ~MpiCommunicator() override { MPI_Finalize(); }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void barrier() override {
    MPI_Request request;
    MPI_Ibarrier(MPI_COMM_WORLD, &request);
    wait(request);
  }

  void broadcast(std::string& bytes, int root) override {
    unsigned long long count = bytes.size();
    MPI_Request request;
    MPI_Ibcast(&count, 1, MPI_UNSIGNED_LONG_LONG, root, MPI_COMM_WORLD, &request);
    wait(request);
    bytes.resize(count);
    for (size_t at = 0; at < bytes.size(); at += piece_bytes) {
      const int piece = static_cast<int>(std::min(piece_bytes, bytes.size() - at));
      MPI_Ibcast(bytes.data() + at, piece, MPI_BYTE, root, MPI_COMM_WORLD, &request);
      wait(request);
    }
  }

  std::vector<std::string> all_gather(const std::string& bytes) override {
    std::vector<std::string> parts(size_);
    for (int root = 0; root < size_; ++root) {
      if (root == rank_) parts[root] = bytes;
      broadcast(parts[root], root);
    }
    return parts;
  }

  void send(int to, int tag, std::string bytes) override {
    if (to == rank_) {
      to_self_.push_back({rank_, tag, std::move(bytes)});
      return;
    }
    PTQ_CHECK(bytes.size() <= piece_bytes, "messages between ranks are small; large data goes through files");
    Sending& sending = sending_.emplace_back();
    sending.bytes = std::move(bytes);
    // Ready when the receiver has it, so that flush() means delivered.
    MPI_Issend(sending.bytes.data(), static_cast<int>(sending.bytes.size()), MPI_BYTE, to, tag, MPI_COMM_WORLD,
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
    MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &found, &status);
    if (!found) return std::nullopt;
    int count = 0;
    MPI_Get_count(&status, MPI_BYTE, &count);
    Message message{status.MPI_SOURCE, status.MPI_TAG, std::string(count, '\0')};
    MPI_Recv(message.bytes.data(), count, MPI_BYTE, message.source, message.tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    return message;
  }

  void flush() override {
    while (!sending_.empty()) {
      drop_delivered();
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  }

  void abort(int code) override {
    MPI_Abort(MPI_COMM_WORLD, code);
    std::abort();
  }

 private:
  struct Sending {
    std::string bytes;
    MPI_Request request;
  };

  void drop_delivered() {
    for (auto it = sending_.begin(); it != sending_.end();) {
      int done = 0;
      MPI_Test(&it->request, &done, MPI_STATUS_IGNORE);
      it = done ? sending_.erase(it) : std::next(it);
    }
  }

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
  if (launched_by_mpi()) return std::make_unique<MpiCommunicator>();
  const char* slurm_rank = std::getenv("SLURM_PROCID");
  const char* slurm_tasks = std::getenv("SLURM_STEP_NUM_TASKS");
  if (slurm_rank && slurm_tasks && std::atoi(slurm_tasks) > 1)
    throw UserError(
        "srun started several tasks without MPI, so each would be a run of its own: use mpirun inside the allocation, or "
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
