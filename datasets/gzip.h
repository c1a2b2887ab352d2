// gzip'ed bytes as they were before (RFC 1952): the hub keeps C4 so. The only code that speaks zlib.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ptq {

uint32_t crc32_of(std::string_view bytes);  // CRC-32 as gzip and Parquet have it

bool is_gzip(const std::string& bytes);  // by the first two bytes, which begin no UTF-8 text

// The bytes of all members, one after another. `path` is for messages. Throws UserError: cut short, damaged
// (also a wrong checksum or length), other bytes behind the last member.
std::string gunzip(const std::string& bytes, const std::string& path);

}  // namespace ptq
