#include "models/tokenizer/tokenizer_json.h"

#include <string_view>

namespace ptq::tokenizer {
namespace {

// Receives the parser's events. Values outside model.vocab and model.merges grow a tree under `root`.
class Builder : public nlohmann::json_sax<Json> {
 public:
  Builder(TokenizerJson& out, const std::string& path) : out_(out), path_(path) {}

  bool null() override { return scalar(Json()); }
  bool boolean(bool value) override { return scalar(value); }
  bool number_integer(number_integer_t value) override { return scalar(value); }
  bool number_float(number_float_t value, const string_t&) override { return scalar(value); }
  bool binary(binary_t&) override { return scalar(Json()); }  // JSON text has none

  bool number_unsigned(number_unsigned_t value) override {
    if (part_ != Part::vocabulary) return scalar(value);
    if (value > static_cast<number_unsigned_t>(kMaxId)) refuse_id(std::to_string(value));
    out_.vocabulary->emplace_back(std::move(key_), static_cast<int32_t>(value));
    return true;
  }

  bool string(string_t& value) override {
    if (part_ == Part::merges) {
      if (as_pairs_.value_or(false)) refuse_merge();
      as_pairs_ = false;
      if (!value.starts_with("#version")) out_.merges->push_back(split_merge(value, merge_place()));
      ++merge_;
      return true;
    }
    if (part_ == Part::pair) {
      if (pair_.size() == 2) refuse_merge();
      pair_.push_back(std::move(value));
      return true;
    }
    return scalar(std::move(value));
  }

  bool key(string_t& value) override {
    key_ = std::move(value);
    return true;
  }

  bool start_object(size_t) override {
    if (part_ == Part::vocabulary) refuse_id("an object");
    if (part_ != Part::tree) refuse_merge();
    if (at_model_field("vocab")) {
      scalar(Json());
      out_.vocabulary.emplace();
      part_ = Part::vocabulary;
      return true;
    }
    return open(Json::object());
  }

  bool end_object() override {
    if (part_ == Part::vocabulary) {
      part_ = Part::tree;
      return true;
    }
    return close();
  }

  bool start_array(size_t) override {
    if (part_ == Part::vocabulary) refuse_id("a list");
    if (part_ == Part::pair) refuse_merge();
    if (part_ == Part::merges) {
      if (!as_pairs_.value_or(true)) refuse_merge();
      as_pairs_ = true;
      part_ = Part::pair;
      pair_.clear();
      return true;
    }
    if (at_model_field("merges")) {
      scalar(Json());
      out_.merges.emplace();
      merge_ = 0;
      part_ = Part::merges;
      return true;
    }
    return open(Json::array());
  }

  bool end_array() override {
    if (part_ == Part::pair) {
      if (pair_.size() != 2) refuse_merge();
      out_.merges->emplace_back(std::move(pair_[0]), std::move(pair_[1]));
      ++merge_;
      part_ = Part::merges;
      return true;
    }
    if (part_ == Part::merges) {
      part_ = Part::tree;
      return true;
    }
    return close();
  }

  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& e) override {
    throw UserError({path_, 0, ""}, std::string("is not valid JSON: ") + e.what());
  }

 private:
  enum class Part { tree, vocabulary, merges, pair };
  struct Level {
    Json* value;
    std::string key;  // under which it stands
  };

  bool at_model_field(const char* name) const {
    return levels_.size() == 2 && levels_[1].key == "model" && levels_[1].value->is_object() && key_ == name;
  }

  Json* put(Json value) {
    if (levels_.empty()) {
      out_.rest = std::move(value);
      return &out_.rest;
    }
    Json& parent = *levels_.back().value;
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    return &(parent[key_] = std::move(value));
  }

  bool scalar(Json value) {
    if (part_ == Part::vocabulary) refuse_id(value.is_number() ? value.dump() : value.type_name());
    if (part_ != Part::tree) refuse_merge();
    put(std::move(value));
    return true;
  }

  bool open(Json value) {
    if (levels_.size() >= static_cast<size_t>(kMaxNesting))
      throw UserError({path_, 0, ""}, "nests too deeply; allowed: " + std::to_string(kMaxNesting));
    Json* place = put(std::move(value));
    levels_.push_back({place, key_});
    return true;
  }

  bool close() {
    levels_.pop_back();
    return true;
  }

  [[noreturn]] void refuse_id(const std::string& given) const {
    throw UserError({path_, 0, "model.vocab"}, "the id of '" + key_ + "' must be an integer from 0 to " +
                                                   std::to_string(kMaxId) + ", is " + given);
  }
  Where merge_place() const { return {path_, 0, "model.merges[" + std::to_string(merge_) + "]"}; }
  [[noreturn]] void refuse_merge() const {
    throw UserError(merge_place(), "merges must be all strings 'a b' or all pairs ['a', 'b']");
  }

  TokenizerJson& out_;
  const std::string& path_;
  Part part_ = Part::tree;
  std::vector<Level> levels_;
  std::string key_;
  std::vector<std::string> pair_;
  std::optional<bool> as_pairs_;
  size_t merge_ = 0;
};

}  // namespace

TokenizerJson parse_tokenizer_json(const std::string& text, const std::string& path) {
  TokenizerJson out;
  Builder builder(out, path);
  Json::sax_parse(text, &builder);
  return out;
}

std::pair<std::string, std::string> split_merge(std::string_view line, const Where& where) {
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos)
    throw UserError(where,
                    "a merge must be two tokens separated by one space, is '" + std::string(line) + "'");
  return {std::string(line.substr(0, space)), std::string(line.substr(space + 1))};
}

}  // namespace ptq::tokenizer
