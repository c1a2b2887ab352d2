// Fields: typed reading of a task's document. Every fault is a UserError with file, line and the field's
// dotted name.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "datasets/text.h"

namespace ptq {

class Fields {
 public:
  explicit Fields(const JsonDocument& document) : document_(document) {}  // keeps a reference

  // `key` may be dotted: "choices.text".
  const std::string& text(const std::string& key) const;
  std::vector<std::string> texts(const std::string& key) const;  // a non-empty list of strings
  // The same for what is scored as a choice: white space alone is refused.
  const std::string& choice(const std::string& key) const;
  std::vector<std::string> choices(const std::string& key) const;
  std::vector<int64_t> integers(const std::string& key) const;  // a list of integers
  int64_t integer(const std::string& key) const;
  bool boolean(const std::string& key) const;
  bool has(const std::string& key) const { return document_.value.contains(key); }
  // An integer, or a string of one, in [0, count): the index of the right choice.
  size_t index(const std::string& key, size_t count) const;
  // The place of the string under `answer` among the strings under `labels`, of which there must be `count`;
  // white space before the answer is overlooked.
  size_t labelled(const std::string& labels, const std::string& answer, size_t count) const;
  [[noreturn]] void fail(const std::string& key, const std::string& message) const;

 private:
  const Json& at(const std::string& key) const;
  const JsonDocument& document_;
};

}  // namespace ptq
