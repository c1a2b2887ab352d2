#include "datasets/parquet/encodings.h"

#include <algorithm>

namespace ptq::parquet {
namespace {

uint64_t take_varint(std::string_view& bytes) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const auto part = static_cast<unsigned char>(take(bytes, 1)[0]);
    value |= uint64_t{part & 127u} << shift;
    if (part < 128) return value;
  }
  throw Damage{"a number has too many digits"};
}

uint64_t take_zigzag(std::string_view& bytes) {
  const uint64_t value = take_varint(bytes);
  return (value >> 1) ^ (0 - (value & 1));
}

// Number i of those packed with `width` <= 64 bits, the lowest bit first.
uint64_t packed_number(std::string_view bytes, size_t i, int width) {
  uint64_t value = 0;
  size_t bit = i * static_cast<size_t>(width);
  for (int done = 0; done < width;) {
    const int offset = static_cast<int>(bit % 8), part = std::min(8 - offset, width - done);
    const auto byte = static_cast<unsigned char>(bytes[bit / 8]);
    value |= ((uint64_t{byte} >> offset) & ((1u << part) - 1)) << done;
    done += part;
    bit += static_cast<size_t>(part);
  }
  return value;
}

}  // namespace

std::string_view take(std::string_view& bytes, uint64_t count) {
  if (count > bytes.size()) throw Damage{"a page ends too early"};
  const std::string_view taken = bytes.substr(0, count);
  bytes.remove_prefix(count);
  return taken;
}

std::vector<uint32_t> decode_hybrid(std::string_view bytes, int width, size_t count) {
  std::vector<uint32_t> numbers;
  if (width == 0) return std::vector<uint32_t>(count, 0);
  numbers.reserve(count);
  while (numbers.size() < count) {
    const uint64_t head = take_varint(bytes);
    const size_t wanted = count - numbers.size();
    if (head & 1) {
      // The last group may be cut after the last number, not within one.
      const size_t there = std::min<uint64_t>(head >> 1, wanted / 8 + 1) * 8;
      const size_t have = std::min(there, wanted), whole = there / 8 * static_cast<size_t>(width);
      const std::string_view group = take(bytes, std::min(whole, bytes.size()));
      if (group.size() * 8 < have * static_cast<size_t>(width) || have == 0)
        throw Damage{"a page ends too early"};
      for (size_t i = 0; i < have; ++i)
        numbers.push_back(static_cast<uint32_t>(packed_number(group, i, width)));
    } else {
      const uint64_t run = head >> 1;
      if (run == 0) throw Damage{"a run of no values"};
      const size_t size = static_cast<size_t>(width + 7) / 8;
      const uint64_t value = packed_number(take(bytes, size), 0, static_cast<int>(size) * 8);
      numbers.insert(numbers.end(), std::min<uint64_t>(run, wanted), static_cast<uint32_t>(value));
    }
  }
  return numbers;
}

std::vector<int64_t> decode_deltas(std::string_view& bytes, size_t most) {
  const uint64_t block = take_varint(bytes), parts = take_varint(bytes), count = take_varint(bytes);
  uint64_t last = take_zigzag(bytes);
  if (parts == 0 || parts > 1024 || block == 0 || block > (1 << 20) || block % parts != 0 ||
      block / parts % 8 != 0)
    throw Damage{"a block of differences has an impossible size"};
  if (count > most) throw Damage{"more values than the page says"};
  const size_t part_size = block / parts;
  std::vector<int64_t> numbers;
  numbers.reserve(count);
  if (count > 0) numbers.push_back(static_cast<int64_t>(last));
  while (numbers.size() < count) {
    const uint64_t least = take_zigzag(bytes);
    const std::string_view widths = take(bytes, parts);
    for (size_t part = 0; part < parts && numbers.size() < count; ++part) {
      const auto width = static_cast<unsigned char>(widths[part]);
      if (width > 64) throw Damage{"differences of more than 64 bits"};
      const std::string_view packed = take(bytes, part_size * width / 8);
      for (size_t i = 0; i < part_size && numbers.size() < count; ++i) {
        last += least + packed_number(packed, i, width);  // modulo 2^64, as the format has it
        numbers.push_back(static_cast<int64_t>(last));
      }
    }
  }
  return numbers;
}

std::vector<std::string> decode_lengths(std::string_view& bytes, size_t most, int64_t room) {
  std::vector<std::string> texts;
  for (const int64_t length : decode_deltas(bytes, most)) {
    if (length < 0) throw Damage{"a negative length"};
    if ((room -= length) < 0) throw Damage{"unpacks to too many bytes"};
    texts.emplace_back(take(bytes, static_cast<uint64_t>(length)));
  }
  return texts;
}

std::vector<std::string> decode_prefixed(std::string_view bytes, size_t most, int64_t room) {
  const std::vector<int64_t> prefixes = decode_deltas(bytes, most);
  std::vector<std::string> texts = decode_lengths(bytes, most, room);
  if (prefixes.size() != texts.size()) throw Damage{"prefixes and rests differ in number"};
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto prefix = static_cast<uint64_t>(prefixes[i]);
    if (prefix > (i == 0 ? 0 : texts[i - 1].size())) throw Damage{"a prefix is longer than the text before"};
    if (prefix == 0) continue;
    texts[i].insert(0, texts[i - 1], 0, prefix);
    if ((room -= static_cast<int64_t>(texts[i].size())) < 0) throw Damage{"unpacks to too many bytes"};
  }
  return texts;
}

}  // namespace ptq::parquet
