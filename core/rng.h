// Counter-based random numbers (Philox4x32-10; Salmon et al., SC'11): the value at an index is a function of (seed,
// purpose, index) only, so that no rank count, order of work or restart can change it. There is no global stream.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace ptq {

// The ten-round block function alone; its published test vectors hold for it.
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

class CounterRng {
 public:
  // purpose: a short name of what the numbers are for ("calibration windows"); streams of other purposes are independent.
  CounterRng(uint64_t seed, std::string_view purpose);

  std::array<uint32_t, 4> block(uint64_t index) const;  // four independent words
  uint64_t word(uint64_t index) const;                  // uniform in [0, 2^64)
  double uniform(uint64_t index) const;                 // uniform in [0, 1), 53 bits
  // Uniform in [0, bound), bound >= 1; by 128-bit multiplication (bias below 2^-64 * bound).
  uint64_t below(uint64_t index, uint64_t bound) const;

 private:
  uint64_t key_;
  uint64_t stream_;
};

}  // namespace ptq
