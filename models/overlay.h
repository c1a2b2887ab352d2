// A quantized model on disk: codes packed to their bits, grids, and the tensors that transforms changed, as one safetensors file.
#pragma once

#include <map>
#include <string>

#include "models/decoder.h"

namespace ptq {

// Deterministic bytes for equal contents; atomic (see write_safetensors).
void write_overlay(const std::string& path, const Overlay& overlay, const std::map<std::string, std::string>& metadata);
// Throws UserError when the file is not an overlay, is truncated, or its checksum does not match.
Overlay read_overlay(const std::string& path, std::map<std::string, std::string>* metadata = nullptr);

}  // namespace ptq
