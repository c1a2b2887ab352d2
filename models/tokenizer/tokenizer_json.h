// Reads tokenizer.json without building a tree for its two large parts, the vocabulary and the merges (11 MB
// of JSON for 150,000 tokens take about 0.15 s).
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/json.h"

namespace ptq::tokenizer {

using Vocabulary = std::vector<std::pair<std::string, int32_t>>;  // token, id
using Merges = std::vector<std::pair<std::string, std::string>>;  // by rank

constexpr int32_t kMaxId = (1 << 24) - 1;  // an id beyond would make tables of more than 16 million tokens
constexpr int kMaxNesting = 64;

struct TokenizerJson {
  Json rest;                             // everything else; model.vocab and model.merges are null in it
  std::optional<Vocabulary> vocabulary;  // in the file's order
  std::optional<Merges> merges;  // from "a b" or ["a", "b"]; lines that begin with #version are left out
};

// Throws UserError for what is not JSON, nests deeper than kMaxNesting, or has a vocabulary or merges of
// another shape.
TokenizerJson parse_tokenizer_json(const std::string& text, const std::string& path);

// A merge as one text. Throws UserError at `where` unless it is two tokens separated by one space.
std::pair<std::string, std::string> split_merge(std::string_view line, const Where& where);

}  // namespace ptq::tokenizer
