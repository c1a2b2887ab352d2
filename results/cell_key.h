// Content keys. The key of a unit of work is the SHA-256 of everything that its result depends on: equal keys mean equal
// bits, so a result is looked up before it is computed. Rank count, host, time and file names are not among them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/json.h"

namespace ptq {

// Raised by one whenever a change of the program changes results at equal keys: the old results are then computed anew.
inline constexpr int result_version = 4;

// What decides the low bits beside the inputs: dtype of computation, threads a rank, LibTorch version, device model,
// vector instructions in use, result_version. device: the GPU's name; "" for this machine's processor.
Json numerics(const std::string& dtype, int64_t threads, const std::string& device = "");

// 64 hexadecimal digits: SHA-256 of {"inputs", "numerics", "operation", "parameters"} in canonical text. The order of
// input_keys counts. Parameters must hold no NaN or infinity (their canonical text is that of null): InternalError.
std::string unit_key(const std::string& operation, const Json& parameters, const Json& numerics,
                     const std::vector<std::string>& input_keys);

}  // namespace ptq
