#include "models/tokenizer/model_files.h"

#include <algorithm>
#include <fstream>
#include <set>
#include <string_view>

#include "models/tokenizer/fields.h"

namespace ptq::tokenizer {
namespace {

int nesting_of(std::string_view json) {
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string) {
      if (c == '\\') ++i;
      else if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return deepest;
}

void sort_by_id(Vocabulary& vocabulary) {
  std::sort(vocabulary.begin(), vocabulary.end(),
            [](const auto& a, const auto& b) { return a.second < b.second; });
}

// vocab.json: an object of ids.
Vocabulary read_vocabulary(const std::string& path) {
  const Json value = read_bounded_json(path);
  if (!value.is_object())
    throw UserError({path, 0, ""}, std::string("must be an object, is of type ") + value.type_name());
  Vocabulary vocabulary;
  vocabulary.reserve(value.size());
  for (const auto& [token, id] : value.items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > static_cast<uint64_t>(kMaxId))
      throw UserError({path, 0, ""}, "the id of '" + token + "' must be an integer from 0 to " +
                                         std::to_string(kMaxId) + ", is " +
                                         (id.is_number() ? id.dump() : id.type_name()));
    vocabulary.emplace_back(token, id.get<int32_t>());
  }
  sort_by_id(vocabulary);
  return vocabulary;
}

// A token of tokenizer_config.json, a string or an object, as an entry of added_tokens.
Json added_token(const Json& value, const Where& where) {
  if (!value.is_string() && !value.is_object())
    throw UserError(where, std::string("must be a string or an object, is of type ") + value.type_name());
  Json token{{"id", 0},         {"content", ""},   {"single_word", false}, {"lstrip", false},
             {"rstrip", false}, {"special", true}, {"normalized", false}};
  if (value.is_string()) {
    token["content"] = value;
    return token;
  }
  for (const char* name : {"content", "single_word", "lstrip", "rstrip", "normalized", "special"})
    if (value.contains(name)) token[name] = value[name];
  Fields(token, where).text("content");
  return token;
}

Json legacy_added_tokens(const Json& config, const Where& where) {
  std::vector<std::pair<int64_t, Json>> declared;
  if (config.contains("added_tokens_decoder")) {
    for (const auto& [id, value] : config["added_tokens_decoder"].items()) {
      if (id.empty() || id.size() > 9 || id.find_first_not_of("0123456789") != std::string::npos)
        throw UserError({where.file, 0, "added_tokens_decoder"}, "'" + id + "' is no token id");
      declared.emplace_back(std::stoll(id),
                            added_token(value, {where.file, 0, "added_tokens_decoder." + id}));
      declared.back().second["id"] = declared.back().first;
    }
    std::sort(declared.begin(), declared.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
  }
  Json tokens = Json::array();
  std::set<std::string> seen;
  const auto add = [&](const Json& token) {
    if (seen.insert(token["content"].get<std::string>()).second) tokens.push_back(token);
  };
  for (const auto& [id, token] : declared) add(token);
  for (const char* name : {"bos_token", "eos_token", "unk_token", "pad_token"})
    if (config.contains(name) && !config[name].is_null())
      add(added_token(config[name], {where.file, 0, name}));
  if (config.contains("additional_special_tokens") && !config["additional_special_tokens"].is_null())
    for (const Json& value : config["additional_special_tokens"])
      add(added_token(value, {where.file, 0, "additional_special_tokens"}));
  return tokens;
}

}  // namespace

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) throw UserError({path, 0, ""}, "cannot be read");
  std::string text(static_cast<size_t>(std::max<std::streamoff>(in.tellg(), 0)), '\0');
  in.seekg(0);
  if (!text.empty() && !in.read(text.data(), static_cast<std::streamsize>(text.size())))
    throw UserError({path, 0, ""}, "cannot be read");
  return text;
}

Json read_bounded_json(const std::string& path) {
  const std::string text = read_file(path);
  if (const int depth = nesting_of(text); depth > kMaxNesting)
    throw UserError({path, 0, ""},
                    "nests " + std::to_string(depth) + " deep; allowed: " + std::to_string(kMaxNesting));
  try {
    return Json::parse(text);
  } catch (const Json::exception& e) {
    throw UserError({path, 0, ""}, std::string("is not valid JSON: ") + e.what());
  }
}

BpeDescription read_bpe(TokenizerJson json, const Where& where) {
  const Json& value = json.rest["model"];
  const Fields fields(value, where);
  // Files older than the field's introduction have none; only BPE has merges.
  const std::string type = value.contains("type")     ? fields.text("type")
                           : value.contains("merges") ? "BPE"
                                                      : "unnamed";
  if (type != "BPE") fields.refuse("type", type, {"BPE"});
  fields.allow({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                "byte_fallback", "ignore_merges", "vocab", "merges"});
  if (fields.has("dropout") && fields.child("dropout") != Json(0.0))
    fields.refuse("dropout", fields.child("dropout").dump(), {"null", "0"});
  BpeDescription model;
  model.options.unk_token = fields.optional_text("unk_token");
  model.options.continuing_prefix = fields.optional_text("continuing_subword_prefix").value_or("");
  model.options.end_suffix = fields.optional_text("end_of_word_suffix").value_or("");
  model.options.fuse_unk = fields.flag_or("fuse_unk", false);
  model.options.byte_fallback = fields.flag_or("byte_fallback", false);
  model.options.ignore_merges = fields.flag_or("ignore_merges", false);
  if (!json.vocabulary) throw UserError(fields.at("vocab"), "must be an object of ids");
  if (!json.merges) throw UserError(fields.at("merges"), "must be a list");
  model.vocabulary = std::move(*json.vocabulary);
  model.merges = std::move(*json.merges);
  sort_by_id(model.vocabulary);
  return model;
}

LegacyFiles read_vocab_and_merges(const std::string& dir, const Json& config) {
  LegacyFiles files;
  const std::string vocab_path = dir + "/vocab.json", merges_path = dir + "/merges.txt";
  const std::string config_path = dir + "/tokenizer_config.json";
  files.model.vocabulary = read_vocabulary(vocab_path);

  const std::string text = read_file(merges_path);
  int number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with("#version") || (line.empty() && begin >= text.size())) continue;
    files.model.merges.push_back(split_merge(line, {merges_path, number, ""}));
  }

  std::string name = "GPT2Tokenizer";
  if (!config.is_null()) {
    const Fields fields(config, {config_path, 0, ""});
    name = fields.optional_text("tokenizer_class").value_or(name);
    files.added_tokens = legacy_added_tokens(config, {config_path, 0, ""});
  } else {
    files.added_tokens = Json::array();
    const auto is_end = [](const auto& entry) { return entry.first == "<|endoftext|>"; };
    if (std::any_of(files.model.vocabulary.begin(), files.model.vocabulary.end(), is_end))
      files.added_tokens.push_back(added_token("<|endoftext|>", {vocab_path, 0, ""}));
  }
  Json byte_level{
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  files.decoder = byte_level;
  if (name == "GPT2Tokenizer" || name == "GPT2TokenizerFast") {
    if (!config.is_null())
      byte_level["add_prefix_space"] =
          Fields(config, {config_path, 0, ""}).flag_or("add_prefix_space", false);
    files.pre_tokenizer = byte_level;
  } else if (name == "Qwen2Tokenizer" || name == "Qwen2TokenizerFast") {
    files.normalizer = {{"type", "NFC"}};
    byte_level["use_regex"] = false;
    const char* words =
        R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
    const Json split{
        {"type", "Split"}, {"pattern", {{"Regex", words}}}, {"behavior", "Isolated"}, {"invert", false}};
    files.pre_tokenizer = {{"type", "Sequence"}, {"pretokenizers", Json::array({split, byte_level})}};
  } else {
    throw UserError({config_path, 0, "tokenizer_class"},
                    "'" + name +
                        "' is not supported with vocab.json and merges.txt alone; supported: GPT2Tokenizer, "
                        "Qwen2Tokenizer, or a tokenizer.json");
  }
  return files;
}

}  // namespace ptq::tokenizer
