// Parquet as the hub keeps data sets: rows as the documents that JSON lines would give.
//
// A reader of our own instead of Arrow's: rows of texts, numbers, lists and structs are all that data sets
// have, which is some hundred lines; Arrow is 170 MB of a Python wheel for the program to load, and a fault
// that fuzzing finds in it could not be mended here. tools/parquet_cases.py compares the two.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/text.h"

namespace ptq {

bool is_parquet(
    std::string_view bytes);  // by the first four bytes, which begin no JSON and no text that we know

// The rows in order; a document's `line` is its row, from 1. What stands in a row:
//   texts (with or without a mark that they are), integers, floats and booleans as themselves; null as null;
//   dates, times and time stamps as the integers that they are stored as;
//   lists as arrays, structs as objects, maps as arrays of {"key", "value"}.
// Read: codecs none, snappy, gzip, zstd; pages of both versions; every encoding but bit-packed
// levels, which nobody writes any more. Refused with the column's name: decimals, INT96, byte strings of
// fixed length, encryption. Throws UserError naming path, column and, for broken UTF-8, the row: cut short,
// damaged (also a wrong checksum where a page has one), more than `budget` bytes when unpacked. Cost: the
// whole file and its rows in memory.
std::vector<JsonDocument> parse_parquet(std::string_view bytes, const std::string& path, int64_t budget);

// The budget of a file: 1 GiB and 256 times its size.
std::vector<JsonDocument> parse_parquet(std::string_view bytes, const std::string& path);

}  // namespace ptq
