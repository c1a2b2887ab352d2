// Parquet's encodings of numbers and bytes. Everything throws Damage (metadata.h) for bytes that end too
// early or claim what cannot be; nothing is allocated on the word of a count that the bytes cannot hold,
// repeated values excepted, whose number the caller has checked.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/parquet/metadata.h"

namespace ptq::parquet {

// The next `count` bytes, taken off the front.
std::string_view take(std::string_view& bytes, uint64_t count);
template <typename T>
T take_number(std::string_view& bytes) {  // little-endian, as every machine is that this program runs on
  T value;
  __builtin_memcpy(&value, take(bytes, sizeof value).data(), sizeof value);
  return value;
}

// `count` numbers of `width` <= 32 bits each: runs of one value and bit-packed groups of eight.
std::vector<uint32_t> decode_hybrid(std::string_view bytes, int width, size_t count);

// DELTA_BINARY_PACKED: takes its bytes off the front. At most `most` numbers.
std::vector<int64_t> decode_deltas(std::string_view& bytes, size_t most);

// DELTA_LENGTH_BYTE_ARRAY and DELTA_BYTE_ARRAY. `room`: more bytes altogether are refused (prefixes repeat).
std::vector<std::string> decode_lengths(std::string_view& bytes, size_t most, int64_t room);
std::vector<std::string> decode_prefixed(std::string_view bytes, size_t most, int64_t room);

}  // namespace ptq::parquet
