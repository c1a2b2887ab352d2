// Communicator: what ranks say to each other, in bytes and in tensors. Three backends, one contract
// (tests/core/comm/contract_test.cpp): self (one process, no MPI), MPI (CPU tensors), and NCCL
// (core/comm/nccl.h: CUDA tensors, the rest over another communicator).
//
// Waiting sleeps instead of spinning: on a full machine a spinning rank steals a core from a working one.
// Threads: one thread at a time uses a communicator; different ones (a split and what it was split from) may
// be used by different threads at the same time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace at {
class Tensor;
}

namespace ptq {

class TensorChannel;

struct Message {
  int source = 0;
  int tag = 0;
  std::string bytes;
};

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // Among the program's ranks on this machine; a split keeps the world's number.
  virtual int local_rank() const = 0;

  // Collective: every rank calls them in the same order.
  virtual void barrier() = 0;
  virtual void broadcast(std::string& bytes, int root) = 0;  // everyone ends with root's bytes, any size
  virtual std::vector<std::string> all_gather(const std::string& bytes) = 0;  // [rank]
  // Ranks of one color >= 0 become a communicator of their own, numbered by (key, rank here); it outlives
  // this one if need be. color < 0: in no group, returns nullptr.
  virtual std::unique_ptr<Communicator> split(int color, int key) = 0;

  // Point to point. send never waits for the receiver (to itself too); messages of one sender arrive in
  // order.
  virtual void send(int to, int tag, std::string bytes) = 0;
  virtual std::optional<Message> poll() = 0;  // a message that has arrived, or nothing; never waits
  virtual void flush() = 0;  // returns when everything sent has been taken over by its receiver

  // Collective, over tensors: any shape (not contiguous ones are copied), 0 elements and more than 2^31 too.
  // The tensor has the same shape and type on every rank, all_gather's only the same device. Sums: float64,
  // float32, float16, bfloat16, int64, int32, uint8 (wraps), each addition rounded to the type.
  //
  // Order of addition, on every backend: a binary tree over the ranks. Node [a, b) is node [a, m) + node [m,
  // b), m - a the greatest power of two below b - a: ((0 + 1) + (2 + 3)) + 4 for five. So equal inputs give
  // equal bits in every run, for every owner. MPI_Allreduce and ncclAllReduce do not promise that, so neither
  // is used.
  void broadcast(at::Tensor& tensor, int root);
  void all_reduce(at::Tensor& tensor);                  // everyone ends with the sum over ranks
  void reduce_to_owner(at::Tensor& tensor, int owner);  // owner does; on other ranks the tensor is used up
  std::vector<at::Tensor> all_gather(const at::Tensor& tensor);  // [rank]; shapes and types may differ

  // The sum over `total` numbered shards, the tree above over the shards' numbers: the bits do not depend on
  // how many ranks there are. A rank gives the shards of shard_range(total), in order, possibly none, and
  // they are used up. sum: shape and type of a shard; receives the sum on `owner`, or on all ranks for owner
  // = everyone.
  static constexpr int everyone = -1;
  void sum_shards(const std::vector<at::Tensor>& shards, int64_t total, at::Tensor& sum,
                  int owner = everyone);
  // [first, last): rank * total / size and the next rank's.
  std::pair<int64_t, int64_t> shard_range(int64_t total) const;

  // Tensors travel in pieces of this many bytes at most (16 to 2^30); a sum needs one piece of memory beside
  // its tensors.
  void set_piece_bytes(size_t bytes);

  // Ends every rank of the program at once with this exit code. Not for orderly errors.
  [[noreturn]] virtual void abort(int code) = 0;

  // Carries pieces of this tensor's kind. For backends: the collectives above are built on it.
  virtual TensorChannel& tensor_channel(const at::Tensor& tensor) = 0;

 private:
  size_t piece_bytes_ = size_t{1} << 20;
};

// MPI's world when mpirun (or another PMIx launcher) started the process, else self. At most once a process;
// MPI is finalized with it and what was split from it. Throws UserError when Slurm started several tasks
// without MPI (each would be a run of its own), and when MPI does not let several threads call it.
std::unique_ptr<Communicator> make_world();

std::unique_ptr<Communicator> make_self_communicator();

// The MPI library's version, "" when the program runs without MPI.
std::string mpi_version();

}  // namespace ptq
