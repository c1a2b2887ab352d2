// The only code that speaks snappy.
#include "datasets/parquet/pages.h"

#include <snappy-c.h>

#include <bit>

#include "core/error.h"
#include "datasets/gzip.h"
#include "datasets/parquet/encodings.h"
#include "datasets/zstd.h"

namespace ptq::parquet {
namespace {

constexpr int64_t kEntry = 96;  // what one costs in a row beside a text's bytes: a member of a JSON object

std::string unsnapped(std::string_view packed, size_t size) {
  std::string bytes(size, '\0');
  size_t found = 0;
  if (snappy_uncompressed_length(packed.data(), packed.size(), &found) != SNAPPY_OK || found != size ||
      snappy_uncompress(packed.data(), packed.size(), bytes.data(), &found) != SNAPPY_OK || found != size)
    throw Damage{"snappy cannot unpack a page"};
  return bytes;
}

std::string ungzipped(std::string_view packed, size_t size) {
  try {
    if (std::string bytes = gunzip(std::string(packed), ""); bytes.size() == size) return bytes;
  } catch (const UserError&) {  // whose advice is for a whole file
  }
  throw Damage{"gzip cannot unpack a page"};
}

std::string unpacked(std::string_view packed, int64_t codec, int64_t size, Budget& budget) {
  budget.spend(size);
  const auto length = static_cast<size_t>(size);
  if (size == 0) return "";
  switch (static_cast<Codec>(codec)) {
    case Codec::none:
      if (packed.size() != length) throw Damage{"a page's two sizes differ"};
      return std::string(packed);
    case Codec::snappy:
      return unsnapped(packed, length);
    case Codec::gzip:
      return ungzipped(packed, length);
    case Codec::zstd:
      if (std::string bytes(length, '\0'); unzstd_into(packed, bytes)) return bytes;
      throw Damage{"zstd cannot unpack a page"};
    default:
      break;
  }
  constexpr const char* names[] = {"", "", "", "LZO", "Brotli", "LZ4", "", "LZ4"};
  throw UserError("is packed with " +
                  std::string(codec > 0 && codec < 8 ? names[codec] : "an unknown codec") +
                  "; read are snappy, gzip and zstd");
}

template <typename T>
void plain_numbers(std::string_view bytes, size_t count, std::vector<Json>& out) {
  for (size_t i = 0; i < count; ++i) out.emplace_back(take_number<T>(bytes));
}

void plain(std::string_view bytes, const Column& column, size_t count, Budget& budget,
           std::vector<Json>& out) {
  switch (column.type) {
    case Type::boolean:
      for (size_t i = 0; i < count; ++i) {
        if (i / 8 >= bytes.size()) throw Damage{"a page ends too early"};
        out.emplace_back(((bytes[i / 8] >> (i % 8)) & 1) != 0);
      }
      return;
    case Type::int32:
      return column.is_unsigned ? plain_numbers<uint32_t>(bytes, count, out)
                                : plain_numbers<int32_t>(bytes, count, out);
    case Type::int64:
      return column.is_unsigned ? plain_numbers<uint64_t>(bytes, count, out)
                                : plain_numbers<int64_t>(bytes, count, out);
    case Type::float32:
      return plain_numbers<float>(bytes, count, out);
    case Type::float64:
      return plain_numbers<double>(bytes, count, out);
    case Type::byte_array:
      for (size_t i = 0; i < count; ++i) {
        const auto length = take_number<uint32_t>(bytes);
        const std::string_view text = take(bytes, length);
        budget.spend(length);
        out.emplace_back(std::string(text));
      }
      return;
    default:
      PTQ_CHECK(false, "a type that the schema's reader refuses");
  }
}

// Byte k of every value, then byte k + 1: put together again and read as plain.
void split_bytes(std::string_view bytes, const Column& column, size_t count, Budget& budget,
                 std::vector<Json>& out) {
  const size_t width = column.type == Type::int32 || column.type == Type::float32   ? 4
                       : column.type == Type::int64 || column.type == Type::float64 ? 8
                                                                                    : 0;
  if (width == 0) throw Damage{"an encoding that is not for this type"};
  std::string joined(count * width, '\0');
  const std::string_view parts = take(bytes, joined.size());
  for (size_t i = 0; i < count; ++i)
    for (size_t k = 0; k < width; ++k) joined[i * width + k] = parts[k * count + i];
  plain(joined, column, count, budget, out);
}

void integers(std::string_view bytes, const Column& column, size_t count, std::vector<Json>& out) {
  if (column.type != Type::int32 && column.type != Type::int64)
    throw Damage{"an encoding that is not for this type"};
  for (const int64_t value : decode_deltas(bytes, count)) {
    if (column.type == Type::int64) {
      if (column.is_unsigned) out.emplace_back(static_cast<uint64_t>(value));
      else out.emplace_back(value);
    } else if (column.is_unsigned) {
      out.emplace_back(static_cast<uint32_t>(value));
    } else {
      out.emplace_back(static_cast<int32_t>(value));
    }
  }
}

void texts(std::vector<std::string> values, const Column& column, Budget& budget, std::vector<Json>& out) {
  if (column.type != Type::byte_array) throw Damage{"an encoding that is not for this type"};
  for (std::string& value : values) {
    budget.spend(static_cast<int64_t>(value.size()));
    out.emplace_back(std::move(value));
  }
}

void looked_up(std::string_view bytes, const std::vector<Json>& dictionary, size_t count, Budget& budget,
               std::vector<Json>& out) {
  if (count == 0) return;
  const auto width = static_cast<unsigned char>(take(bytes, 1)[0]);
  if (width > 32) throw Damage{"indices of more than 32 bits"};
  for (const uint32_t index : decode_hybrid(bytes, width, count)) {
    if (index >= dictionary.size()) throw Damage{"an index beyond the dictionary"};
    const Json& value = dictionary[index];
    if (value.is_string()) budget.spend(static_cast<int64_t>(value.get_ref<const std::string&>().size()));
    out.push_back(value);
  }
}

void booleans(std::string_view bytes, const Column& column, size_t count, std::vector<Json>& out) {
  if (column.type != Type::boolean) throw Damage{"an encoding that is not for this type"};
  for (const uint32_t bit : decode_hybrid(take(bytes, take_number<uint32_t>(bytes)), 1, count))
    out.emplace_back(bit != 0);
}

class ChunkReader {
 public:
  ChunkReader(std::string_view file, const ColumnChunk& chunk, const Column& column, Budget& budget)
      : chunk_(chunk), column_(column), budget_(budget) {
    if (chunk.values <= 0) return;  // no pages then, and their places may be anything
    const bool dictionary = chunk.dictionary_at > 0 && chunk.dictionary_at < chunk.data_at;
    const int64_t begin = dictionary ? chunk.dictionary_at : chunk.data_at;
    if (begin < 4 || chunk.bytes < 0 || begin > static_cast<int64_t>(file.size()) ||
        chunk.bytes > static_cast<int64_t>(file.size()) - begin)
      throw Damage{"its pages lie outside the file"};
    bytes_ = file.substr(static_cast<size_t>(begin), static_cast<size_t>(chunk.bytes));
  }

  Entries read() {
    while (static_cast<int64_t>(entries_.defined.size()) < chunk_.values) page();
    if (static_cast<int64_t>(entries_.defined.size()) != chunk_.values)
      throw Damage{"more values than the column says"};
    return std::move(entries_);
  }

 private:
  void page() {
    size_t used = 0;
    const PageHeader header = read_page_header(bytes_, used);
    bytes_.remove_prefix(used);
    if (header.packed < 0 || header.unpacked < 0 || header.values < 0) throw Damage{"a page has no size"};
    const std::string_view packed = take(bytes_, static_cast<uint64_t>(header.packed));
    if (header.crc >= 0 && crc32_of(packed) != header.crc) throw Damage{"a page's checksum is wrong"};
    const auto type = static_cast<PageType>(header.type);
    if (type == PageType::dictionary) dictionary_page(header, packed);
    else if (type == PageType::data) data_page(header, packed);
    else if (type == PageType::data_v2) data_page_v2(header, packed);
  }

  void dictionary_page(const PageHeader& header, std::string_view packed) {
    budget_.spend(header.values, kEntry);
    const std::string bytes = unpacked(packed, chunk_.codec, header.unpacked, budget_);
    dictionary_.clear();
    plain(bytes, column_, static_cast<size_t>(header.values), budget_, dictionary_);
  }

  size_t begin_data(const PageHeader& header) {
    if (header.values > chunk_.values) throw Damage{"more values than the column says"};
    budget_.spend(header.values, kEntry);
    return static_cast<size_t>(header.values);
  }

  void data_page(const PageHeader& header, std::string_view packed) {
    const size_t count = begin_data(header);
    const std::string owner = unpacked(packed, chunk_.codec, header.unpacked, budget_);
    std::string_view bytes = owner;
    const auto add = [&](std::vector<uint8_t>& levels, int most, int64_t encoding) {
      if (most > 0 && encoding != int64_t(Encoding::rle))
        throw Damage{"levels in an encoding that was given up"};
      const std::string_view part = most > 0 ? take(bytes, take_number<uint32_t>(bytes)) : std::string_view();
      return add_levels(levels, part, most, count);
    };
    add(entries_.repeated, column_.most_repeated, header.repetition_encoding);
    values(header, bytes, add(entries_.defined, column_.most_defined, header.definition_encoding));
  }

  void data_page_v2(const PageHeader& header, std::string_view packed) {
    const size_t count = begin_data(header);
    if (header.repetition_bytes < 0 || header.definition_bytes < 0)
      throw Damage{"levels of a negative length"};
    const std::string_view repeated = take(packed, static_cast<uint64_t>(header.repetition_bytes));
    const std::string_view defined = take(packed, static_cast<uint64_t>(header.definition_bytes));
    const int64_t size = header.unpacked - header.repetition_bytes - header.definition_bytes;
    if (size < 0) throw Damage{"levels longer than their page"};
    add_levels(entries_.repeated, repeated, column_.most_repeated, count);
    const size_t present = add_levels(entries_.defined, defined, column_.most_defined, count);
    const auto codec = header.compressed ? chunk_.codec : int64_t(Codec::none);
    values(header, unpacked(packed, codec, size, budget_), present);
  }

  // Returns how many levels are the greatest.
  size_t add_levels(std::vector<uint8_t>& levels, std::string_view bytes, int most, size_t count) {
    const int width = std::bit_width(static_cast<unsigned>(most));
    size_t greatest = 0;
    for (const uint32_t level : decode_hybrid(bytes, width, count)) {
      if (level > static_cast<uint32_t>(most)) throw Damage{"a level above the schema's"};
      levels.push_back(static_cast<uint8_t>(level));
      greatest += level == static_cast<uint32_t>(most);
    }
    return greatest;
  }

  void values(const PageHeader& header, std::string_view bytes, size_t count) {
    std::vector<Json>& out = entries_.values;
    const size_t before = out.size();
    switch (static_cast<Encoding>(header.encoding)) {
      case Encoding::plain:
        plain(bytes, column_, count, budget_, out);
        break;
      case Encoding::plain_dictionary:
      case Encoding::rle_dictionary:
        looked_up(bytes, dictionary_, count, budget_, out);
        break;
      case Encoding::rle:
        booleans(bytes, column_, count, out);
        break;
      case Encoding::delta_integers:
        integers(bytes, column_, count, out);
        break;
      case Encoding::delta_lengths:
        texts(decode_lengths(bytes, count, budget_.left()), column_, budget_, out);
        break;
      case Encoding::delta_bytes:
        texts(decode_prefixed(bytes, count, budget_.left()), column_, budget_, out);
        break;
      case Encoding::byte_stream_split:
        split_bytes(bytes, column_, count, budget_, out);
        break;
      default:
        throw Damage{"an unknown encoding"};
    }
    if (out.size() - before != count) throw Damage{"fewer values than the page says"};
  }

  const ColumnChunk& chunk_;
  const Column& column_;
  Budget& budget_;
  std::string_view bytes_;
  std::vector<Json> dictionary_;
  Entries entries_;
};

}  // namespace

void Budget::spend(int64_t count, int64_t each) {
  if (count < 0 || count > left_ / each) throw Damage{"unpacks to far more bytes than such a file should"};
  left_ -= count * each;
}

Entries read_entries(std::string_view file, const ColumnChunk& chunk, const Column& column, Budget& budget) {
  return ChunkReader(file, chunk, column, budget).read();
}

}  // namespace ptq::parquet
