#include "core/sha256.h"

#include <gtest/gtest.h>

#include <vector>

namespace ptq {
namespace {

// Answers of FIPS 180-4's examples.
TEST(Sha256, KnownAnswers) {
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST(Sha256, PiecesGiveTheWhole) { EXPECT_EQ(Sha256().update("a").update("").update("bc").hex(), sha256("abc")); }

TEST(Sha256, TokenIdsAreLittleEndianWords) {
  const std::vector<int32_t> ids = {1, -2, 49152};
  EXPECT_EQ(sha256_ids(ids), sha256(std::string_view("\x01\0\0\0\xfe\xff\xff\xff\0\xc0\0\0", 12)));
}

}  // namespace
}  // namespace ptq
