// The JSON header of a safetensors file, read and checked without building a JSON tree. For models/safetensors.cpp and its tests.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "models/safetensors.h"

namespace ptq {

constexpr uint64_t max_safetensors_header = 100'000'000;  // bytes; the limit of the format's own library

struct SafetensorsHeader {
  std::map<std::string, SafetensorsEntry> tensors;
  std::map<std::string, std::string> metadata;
};

// Bits of one element of a dtype of the format, 0 for an unknown name. F4, F6_* and F8_* are known, see SafetensorsFile::tensor.
int safetensors_bits(std::string_view dtype);

// `text`: the header without its length; data_bytes: what follows it in the file. Throws UserError with `path` and the tensor.
SafetensorsHeader parse_safetensors_header(std::string_view text, uint64_t data_bytes, const std::string& path);

}  // namespace ptq
