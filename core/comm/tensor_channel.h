// TensorChannel: the seam between the tensor collectives (core/comm/collectives.cpp) and a backend. It
// carries pieces: contiguous one-dimensional tensors of at most 2^30 bytes, equally long at both ends.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace ptq {

class TensorChannel {
 public:
  virtual ~TensorChannel() = default;
  // Around each collective, on every rank. After end the tensors' memory is the caller's again.
  virtual void begin(const std::string& operation) { (void)operation; }
  virtual void end() {}

  virtual void send(const at::Tensor& piece, int to) = 0;  // pieces from one rank to another arrive in order
  virtual void receive(at::Tensor& piece, int from) = 0;
  virtual void broadcast(at::Tensor& piece, int root) = 0;  // on every rank
};

}  // namespace ptq
