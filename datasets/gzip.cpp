#include "datasets/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <limits>
#include <memory>

#include "core/error.h"

namespace ptq {

uint32_t crc32_of(std::string_view bytes) {
  return static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

bool is_gzip(const std::string& bytes) {
  return bytes.size() >= 2 && bytes[0] == '\x1f' && bytes[1] == '\x8b';
}

std::string gunzip(const std::string& bytes, const std::string& path) {
  z_stream stream{};
  constexpr int kGzipOnly = 16 + MAX_WBITS;
  PTQ_CHECK_EQ(inflateInit2(&stream, kGzipOnly), Z_OK);
  const std::unique_ptr<z_stream, int (*)(z_stream*)> end(&stream, inflateEnd);
  const auto refuse = [&](const std::string& what) {
    throw UserError(Where{path, 0, ""}, what + "; get the gzip file again");
  };

  std::string text;
  size_t at = 0;
  Bytef block[1 << 16];
  for (int state = Z_OK; state != Z_STREAM_END || at < bytes.size();) {
    if (state == Z_STREAM_END) {  // a member ended and bytes follow: the next one
      if (!is_gzip(bytes.substr(at, 2))) refuse("not gzip at byte " + std::to_string(at));
      PTQ_CHECK_EQ(inflateReset(&stream), Z_OK);
    }
    const size_t given = std::min<size_t>(bytes.size() - at, std::numeric_limits<uInt>::max());
    stream.next_in =
        reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data() + at));  // zlib writes none of it
    stream.avail_in = static_cast<uInt>(given);
    stream.next_out = block;
    stream.avail_out = sizeof block;
    state = inflate(&stream, Z_NO_FLUSH);
    at += given - stream.avail_in;
    text.append(reinterpret_cast<const char*>(block), sizeof block - stream.avail_out);
    if (state == Z_BUF_ERROR || (state == Z_OK && at == bytes.size() && stream.avail_out > 0))
      refuse("cut short: the gzip data end after " + std::to_string(bytes.size()) +
             " bytes, within a member");
    if (state == Z_MEM_ERROR) refuse("too large for the memory there is");
    if (state != Z_OK && state != Z_STREAM_END)
      refuse("damaged gzip data at byte " + std::to_string(at) +
             (stream.msg ? std::string(": ") + stream.msg : ""));
  }
  return text;
}

}  // namespace ptq
