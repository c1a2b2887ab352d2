#include "harness/checksum.h"

#include <openssl/evp.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <vector>

#include "harness/http.h"

namespace ptq {
namespace {

bool is_hex(const std::string& text) {
  return text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

}  // namespace

Checksum checksum_of_etag(const std::string& etag) {
  std::string text = etag.starts_with("W/") ? etag.substr(2) : etag;
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') text = text.substr(1, text.size() - 2);
  if (is_hex(text) && text.size() == 64) return {Checksum::Kind::sha256, text};
  if (is_hex(text) && text.size() == 40) return {Checksum::Kind::git_blob, text};
  return {};
}

std::string describe(const Checksum& checksum) {
  return (checksum.kind == Checksum::Kind::sha256 ? "sha256 " : "git blob ") + checksum.hex;
}

Checksum file_checksum(Checksum::Kind kind, const std::string& path, const std::function<bool()>& stop) {
  PTQ_CHECK(kind != Checksum::Kind::none);
  const auto fail = [&] {
    throw UserError(Where{path, 0, ""}, std::string("cannot be read: ") + std::strerror(errno));
  };
  std::ifstream file(path, std::ios::binary);
  if (!file) fail();
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> hash(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  PTQ_CHECK_EQ(
      EVP_DigestInit_ex(hash.get(), kind == Checksum::Kind::sha256 ? EVP_sha256() : EVP_sha1(), nullptr), 1);
  if (kind == Checksum::Kind::git_blob) {
    const std::string head = "blob " + std::to_string(std::filesystem::file_size(path)) + '\0';
    PTQ_CHECK_EQ(EVP_DigestUpdate(hash.get(), head.data(), head.size()), 1);
  }
  std::vector<char> block(1 << 20);
  while (file.read(block.data(), std::streamsize(block.size())) || file.gcount() > 0) {
    if (stop()) throw Stopped{};
    PTQ_CHECK_EQ(EVP_DigestUpdate(hash.get(), block.data(), size_t(file.gcount())), 1);
  }
  if (file.bad()) fail();
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  PTQ_CHECK_EQ(EVP_DigestFinal_ex(hash.get(), digest, &size), 1);
  Checksum checksum{kind, ""};
  for (unsigned i = 0; i < size; ++i) {
    checksum.hex += "0123456789abcdef"[digest[i] >> 4];
    checksum.hex += "0123456789abcdef"[digest[i] & 15];
  }
  return checksum;
}

}  // namespace ptq
