// zstd-packed bytes as they were before (RFC 8878): the hub keeps the Pile and SlimPajama so. The only code
// that speaks zstd.
#pragma once

#include <string>
#include <string_view>

namespace ptq {

bool is_zstd(std::string_view bytes);  // by the first four bytes, which begin no UTF-8 text

// The bytes of all frames, one after another. `path` is for messages. Throws UserError: cut short, damaged.
std::string unzstd(std::string_view bytes, const std::string& path);

// Whether `packed` is frames that hold just as many bytes as `bytes`, which then has them.
bool unzstd_into(std::string_view packed, std::string& bytes);

}  // namespace ptq
