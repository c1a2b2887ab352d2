#include "core/sha256.h"

#include <openssl/evp.h>

#include "core/error.h"

namespace ptq {

struct Sha256::Context {
  EVP_MD_CTX* md = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(md); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  PTQ_CHECK(EVP_DigestInit_ex(context_->md, EVP_sha256(), nullptr) == 1);
}
Sha256::~Sha256() = default;

Sha256& Sha256::update(const void* data, size_t bytes) {
  PTQ_CHECK(EVP_DigestUpdate(context_->md, data, bytes) == 1);
  return *this;
}

std::string Sha256::hex() {
  unsigned char digest[32];
  unsigned int size = 0;
  PTQ_CHECK(EVP_DigestFinal_ex(context_->md, digest, &size) == 1 && size == 32);
  std::string text;
  for (const unsigned char byte : digest) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

std::string sha256(std::string_view text) { return Sha256().update(text).hex(); }

std::string sha256_ids(std::span<const int32_t> ids) {
  return Sha256().update(ids.data(), ids.size_bytes()).hex();
}

}  // namespace ptq
