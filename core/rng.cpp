#include "core/rng.h"

#include "core/error.h"

namespace ptq {
namespace {

// FNV-1a: names of purposes are short and few; only their distinctness matters.
uint64_t hash_name(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const unsigned char c : name) hash = (hash ^ c) * 0x100000001b3u;
  return hash;
}

}  // namespace

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> c, std::array<uint32_t, 2> k) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c[0], p1 = uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k[0], static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k[1], static_cast<uint32_t>(p0)};
    k[0] += 0x9E3779B9u;
    k[1] += 0xBB67AE85u;
  }
  return c;
}

CounterRng::CounterRng(uint64_t seed, std::string_view purpose) : key_(seed), stream_(hash_name(purpose)) {}

std::array<uint32_t, 4> CounterRng::block(uint64_t index) const {
  return philox4x32({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                     static_cast<uint32_t>(stream_), static_cast<uint32_t>(stream_ >> 32)},
                    {static_cast<uint32_t>(key_), static_cast<uint32_t>(key_ >> 32)});
}

uint64_t CounterRng::word(uint64_t index) const {
  const auto b = block(index);
  return uint64_t{b[0]} | uint64_t{b[1]} << 32;
}

double CounterRng::uniform(uint64_t index) const {
  return static_cast<double>(word(index) >> 11) * 0x1p-53;
}

uint64_t CounterRng::below(uint64_t index, uint64_t bound) const {
  PTQ_CHECK(bound >= 1);
  return static_cast<uint64_t>((static_cast<unsigned __int128>(word(index)) * bound) >> 64);
}

}  // namespace ptq
