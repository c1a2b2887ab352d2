// Small tokenizers written in the test, in a folder of their own that goes away with the object.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "core/error.h"
#include "core/json.h"
#include "models/tokenizer.h"

namespace ptq::test {

class TokenizerFolder {
 public:
  TokenizerFolder() {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    std::string name = std::string(info->test_suite_name()) + "." + info->name();
    for (char& c : name)
      if (c == '/') c = '_';
    path_ =
        std::filesystem::temp_directory_path() / ("ptq_" + name + "_" + std::to_string(counter()++) + "_" +
                                                  std::to_string(reinterpret_cast<uintptr_t>(this)));
    std::filesystem::create_directories(path_);
  }
  ~TokenizerFolder() { std::filesystem::remove_all(path_); }
  TokenizerFolder(const TokenizerFolder&) = delete;
  TokenizerFolder& operator=(const TokenizerFolder&) = delete;

  TokenizerFolder& write(const std::string& name, const std::string& text) {
    std::ofstream(path_ / name, std::ios::binary) << text;
    return *this;
  }
  std::string path() const { return path_.string(); }
  std::shared_ptr<const Tokenizer> load() const { return Tokenizer::load(path()); }

 private:
  static int& counter() {
    static int value = 0;
    return value;
  }
  std::filesystem::path path_;
};

// A tokenizer.json of a BPE over the given vocabulary and merges, without further parts.
inline Json bpe_json(const Json& vocab, const Json& merges) {
  const Json model{{"type", "BPE"},
                   {"dropout", nullptr},
                   {"unk_token", nullptr},
                   {"continuing_subword_prefix", nullptr},
                   {"end_of_word_suffix", nullptr},
                   {"fuse_unk", false},
                   {"byte_fallback", false},
                   {"ignore_merges", false},
                   {"vocab", vocab},
                   {"merges", merges}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", Json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", nullptr},
          {"post_processor", nullptr},
          {"decoder", nullptr},
          {"model", model}};
}

inline Json added_token_json(int id, const std::string& content, bool special = false) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

inline std::shared_ptr<const Tokenizer> load_json(const Json& json) {
  TokenizerFolder folder;
  folder.write("tokenizer.json", json.dump());
  return folder.load();
}

// The message with which loading fails, or "" when it does not. Another exception than UserError fails the
// test.
inline std::string refusal(const std::string& tokenizer_json) {
  TokenizerFolder folder;
  folder.write("tokenizer.json", tokenizer_json);
  try {
    folder.load();
  } catch (const UserError& e) {
    const std::string message = e.what();
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return message.substr(0, folder.path().size()) == folder.path() ? message.substr(folder.path().size() + 1)
                                                                    : message;
  }
  return "";
}
inline std::string refusal(const Json& json) { return refusal(json.dump()); }

}  // namespace ptq::test
