// Communicator: what ranks say to each other. Two backends, one contract: self (one process, no MPI) and MPI.
// Waiting sleeps instead of spinning: on a full machine a spinning rank steals a core from a working one.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace ptq {

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

  // Collective: every rank calls them in the same order, from the thread that made the communicator.
  virtual void barrier() = 0;
  virtual void broadcast(std::string& bytes, int root) = 0;                   // everyone ends with root's bytes, any size
  virtual std::vector<std::string> all_gather(const std::string& bytes) = 0;  // [rank]

  // Point to point. send never waits for the receiver (to itself too); messages of one sender arrive in order.
  virtual void send(int to, int tag, std::string bytes) = 0;
  virtual std::optional<Message> poll() = 0;  // a message that has arrived, or nothing; never waits
  virtual void flush() = 0;                   // returns when everything sent has been taken over by its receiver

  // Ends every rank at once with this exit code. Not for orderly errors.
  [[noreturn]] virtual void abort(int code) = 0;
};

// MPI's world when mpirun (or another PMIx launcher) started the process, else self. At most once a process; MPI is
// finalized with it. Throws UserError when Slurm started several tasks without MPI: each would be a run of its own.
std::unique_ptr<Communicator> make_world();

std::unique_ptr<Communicator> make_self_communicator();

// The MPI library's version, "" when the program runs without MPI.
std::string mpi_version();

}  // namespace ptq
