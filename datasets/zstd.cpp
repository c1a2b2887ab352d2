#include "datasets/zstd.h"

#include <zstd.h>

#include <memory>
#include <vector>

#include "core/error.h"

namespace ptq {

bool is_zstd(std::string_view bytes) { return bytes.starts_with("\x28\xB5\x2F\xFD"); }

std::string unzstd(std::string_view bytes, const std::string& path) {
  const std::unique_ptr<ZSTD_DStream, size_t (*)(ZSTD_DStream*)> stream(ZSTD_createDStream(),
                                                                        ZSTD_freeDStream);
  PTQ_CHECK(stream != nullptr);
  std::vector<char> block(ZSTD_DStreamOutSize());
  ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
  std::string text;
  size_t more = 1;  // 0: a frame has ended and all of it is out
  bool full = false;
  while (in.pos < in.size || full) {
    ZSTD_outBuffer out{block.data(), block.size(), 0};
    more = ZSTD_decompressStream(stream.get(), &out, &in);
    if (ZSTD_isError(more))
      throw UserError(Where{path, 0, ""}, "damaged zstd data at byte " + std::to_string(in.pos) + ": " +
                                              ZSTD_getErrorName(more) + "; get the file again");
    text.append(block.data(), out.pos);
    full = out.pos == out.size;
  }
  if (more != 0)
    throw UserError(Where{path, 0, ""}, "cut short: the zstd data end after " + std::to_string(bytes.size()) +
                                            " bytes, within a frame; get the file again");
  return text;
}

bool unzstd_into(std::string_view packed, std::string& bytes) {
  return ZSTD_decompress(bytes.data(), bytes.size(), packed.data(), packed.size()) == bytes.size();
}

}  // namespace ptq
