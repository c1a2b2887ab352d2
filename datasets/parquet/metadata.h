// What a Parquet file says of itself: the schema and where the pages of each column lie, and the head of a
// page.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ptq::parquet {

// The format's numbers.
enum class Type { boolean, int32, int64, int96, float32, float64, byte_array, fixed };
enum class Repetition { required, optional, repeated };
enum class Codec { none, snappy, gzip, lzo, brotli, lz4, zstd, lz4_raw };
enum class Encoding {
  plain = 0,
  plain_dictionary = 2,
  rle = 3,
  delta_integers = 5,
  delta_lengths = 6,
  delta_bytes = 7,
  rle_dictionary = 8,
  byte_stream_split = 9
};
enum class Meaning { plain, list, map, unsigned_integer, decimal };
enum class PageType { data = 0, index = 1, dictionary = 2, data_v2 = 3 };

struct SchemaElement {
  std::string name;
  int64_t type = -1;  // of a column; -1: a group
  int64_t repetition = 0, children = 0;
  Meaning meaning = Meaning::plain;
};
struct ColumnChunk {
  int64_t type = -1, codec = 0, values = 0, bytes = 0, data_at = -1, dictionary_at = -1;
  bool elsewhere = false;  // in another file, or encrypted
};
struct RowGroup {
  std::vector<ColumnChunk> columns;
  int64_t rows = 0;
};
struct Metadata {
  std::vector<SchemaElement> schema;  // depth first, the root in front
  std::vector<RowGroup> groups;
};
struct PageHeader {
  int64_t type = -1, packed = -1, unpacked = -1, values = 0, encoding = -1;
  int64_t definition_bytes = 0, repetition_bytes = 0;          // version 2
  int64_t crc = -1;                                            // of the packed bytes; -1: none
  int64_t definition_encoding = -1, repetition_encoding = -1;  // version 1
  bool compressed = true;                                      // version 2
};

// What is wrong with the bytes; the reader says where.
struct Damage {
  std::string what;
};

Metadata read_metadata(std::string_view bytes);                     // throws Damage
PageHeader read_page_header(std::string_view bytes, size_t& used);  // throws Damage

}  // namespace ptq::parquet
