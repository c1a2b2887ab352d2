#include "models/tokenizer.h"

#include <fstream>

#include "tests/fuzz/targets.h"
#include "tests/support/temporary_folder.h"

void ptq::fuzz::tokenizer(std::string_view bytes) {
  static const test::TemporaryFolder folder;
  std::ofstream(folder / "tokenizer.json", std::ios::binary) << bytes;
  expect_user_error_at_most([&] {
    const auto tokenizer = Tokenizer::load(folder.path());
    const auto ids =
        tokenizer->encode("Once upon a time, 12 caf\u00e9s <s>\n\u65e5\u672c \U0001f600</s>", true);
    tokenizer->decode(ids, false);
    tokenizer->digest();
  });
}
