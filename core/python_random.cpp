#include "core/python_random.h"

#include <bit>
#include <cmath>
#include <numeric>
#include <unordered_set>

#include "core/error.h"

namespace ptq {
namespace {

constexpr size_t kSize = 624, kMiddle = 397;

}  // namespace

PythonRandom::PythonRandom(uint64_t seed) {
  std::vector<uint32_t> key = {static_cast<uint32_t>(seed)};
  if (seed >> 32) key.push_back(static_cast<uint32_t>(seed >> 32));

  state_[0] = 19650218u;
  for (size_t i = 1; i < kSize; ++i)
    state_[i] = 1812433253u * (state_[i - 1] ^ (state_[i - 1] >> 30)) + static_cast<uint32_t>(i);
  size_t i = 1, j = 0;
  const auto advance = [&] {
    if (++i == kSize) {
      state_[0] = state_[kSize - 1];
      i = 1;
    }
  };
  for (size_t k = std::max(kSize, key.size()); k > 0; --k) {
    state_[i] = (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * 1664525u)) + key[j] +
                static_cast<uint32_t>(j);
    if (++j == key.size()) j = 0;
    advance();
  }
  for (size_t k = kSize - 1; k > 0; --k) {
    state_[i] =
        (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * 1566083941u)) - static_cast<uint32_t>(i);
    advance();
  }
  state_[0] = 0x80000000u;
}

uint32_t PythonRandom::word() {
  if (next_ == kSize) {
    for (size_t i = 0; i < kSize; ++i) {
      const uint32_t y = (state_[i] & 0x80000000u) | (state_[(i + 1) % kSize] & 0x7fffffffu);
      state_[i] = state_[(i + kMiddle) % kSize] ^ (y >> 1) ^ ((y & 1u) ? 0x9908b0dfu : 0u);
    }
    next_ = 0;
  }
  uint32_t y = state_[next_++];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680u;
  y ^= (y << 15) & 0xefc60000u;
  return y ^ (y >> 18);
}

uint64_t PythonRandom::below(uint64_t bound) {
  PTQ_CHECK(bound >= 1 && bound < (uint64_t{1} << 32));
  // As many top bits as the bound has, again until they fall below it.
  const int bits = static_cast<int>(std::bit_width(bound));
  uint64_t value = word() >> (32 - bits);
  while (value >= bound) value = word() >> (32 - bits);
  return value;
}

std::vector<size_t> PythonRandom::sample(size_t population, size_t count) {
  PTQ_CHECK(count <= population);
  std::vector<size_t> result;
  result.reserve(count);
  // CPython chooses between two ways by their memory; which one it is changes the draws.
  double set_size = 21;
  if (count > 5)
    set_size += std::pow(4.0, std::ceil(std::log(3.0 * static_cast<double>(count)) / std::log(4.0)));
  if (static_cast<double>(population) <= set_size) {
    std::vector<size_t> pool(population);
    std::iota(pool.begin(), pool.end(), size_t{0});
    for (size_t i = 0; i < count; ++i) {
      const size_t j = below(population - i);
      result.push_back(pool[j]);
      pool[j] = pool[population - i - 1];
    }
  } else {
    std::unordered_set<size_t> taken;
    while (result.size() < count) {
      const size_t j = below(population);
      if (taken.insert(j).second) result.push_back(j);
    }
  }
  return result;
}

}  // namespace ptq
