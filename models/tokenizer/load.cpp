// From a directory to a Pipeline.
#include <filesystem>
#include <utility>

#include "core/sha256.h"
#include "models/tokenizer/model_files.h"
#include "models/tokenizer/pipeline.h"

namespace ptq::tokenizer {
namespace {

void refuse_truncation_and_padding(const Fields& fields) {
  if (fields.has("truncation"))
    throw UserError(fields.at("truncation"), "is not supported, as it drops ids; supported: null");
  if (!fields.has("padding")) return;
  const Fields padding(fields.child("padding"), fields.at("padding"));
  // A single text padded to the longest of its batch stays as it is.
  if (padding.child("strategy") != Json("BatchLongest") || padding.has("pad_to_multiple_of"))
    throw UserError(fields.at("padding"),
                    "is not supported, as it adds ids; supported: null, or strategy BatchLongest");
}

void add_section(Sha256& hash, std::string_view text) {
  hash.update(std::to_string(text.size()) + ":").update(text);
}

std::string digest_of(const BpeDescription& model, const Json& normalizer, const Json& pre_tokenizer,
                      const Json& added_tokens, const PostProcessor& post_processor) {
  Sha256 hash;
  Json added = added_tokens;
  for (Json& token : added) token.erase("id");  // numbered anew
  const auto& options = model.options;
  const Json parts{{"normalizer", normalizer},
                   {"pre_tokenizer", pre_tokenizer},
                   {"added_tokens", added},
                   {"post_processor", post_processor.describe()},
                   {"unk_token", options.unk_token ? Json(*options.unk_token) : Json()},
                   {"continuing_subword_prefix", options.continuing_prefix},
                   {"end_of_word_suffix", options.end_suffix},
                   {"fuse_unk", options.fuse_unk},
                   {"byte_fallback", options.byte_fallback},
                   {"ignore_merges", options.ignore_merges}};
  add_section(hash, canonical(parts));
  std::string text;
  for (const auto& [token, id] : model.vocabulary)
    text.append(std::to_string(id)).append(" ").append(token).append(1, '\0');
  add_section(hash, text);
  text.clear();
  for (const auto& [left, right] : model.merges)
    text.append(left).append(1, '\0').append(right).append(1, '\0');
  add_section(hash, text);
  return hash.hex();
}

struct Source {
  std::string path;  // for messages
  BpeDescription model;
  Json added_tokens = Json::array();
  Json normalizer, pre_tokenizer, post_processor, decoder;
};

Source read_tokenizer_json(const std::string& path) {
  TokenizerJson json = parse_tokenizer_json(read_file(path), path);
  const Json top = json.rest;
  const Fields fields(top, {path, 0, ""});
  fields.allow({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                "post_processor", "decoder", "model"});
  if (fields.has("version") && fields.text("version") != "1.0")
    fields.refuse("version", fields.text("version"), {"1.0"});
  refuse_truncation_and_padding(fields);
  fields.child("model");
  Source source{path, read_bpe(std::move(json), fields.at("model")), Json::array(), {}, {}, {}, {}};
  if (fields.has("added_tokens")) source.added_tokens = fields.array("added_tokens");
  const auto part = [&](const char* name) { return fields.has(name) ? fields.child(name) : Json(); };
  source.normalizer = part("normalizer");
  source.pre_tokenizer = part("pre_tokenizer");
  source.post_processor = part("post_processor");
  source.decoder = part("decoder");
  return source;
}

Source read_source(const std::string& dir, const Json& config) {
  const auto exists = [&](const char* name) { return std::filesystem::exists(dir + "/" + name); };
  if (exists("tokenizer.json")) return read_tokenizer_json(dir + "/tokenizer.json");
  if (exists("vocab.json") && exists("merges.txt")) {
    LegacyFiles files = read_vocab_and_merges(dir, config);
    return {dir + "/vocab.json",         std::move(files.model),         std::move(files.added_tokens),
            std::move(files.normalizer), std::move(files.pre_tokenizer), Json(),
            std::move(files.decoder)};
  }
  if (exists("tokenizer.model"))
    throw UserError(
        {dir + "/tokenizer.model", 0, ""},
        "a SentencePiece file alone is not supported; write a tokenizer.json beside it once, with Python: "
        "transformers.AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)");
  throw UserError({dir, 0, ""}, "has no tokenizer; expected tokenizer.json, or vocab.json and merges.txt");
}

// A token that tokenizer_config.json names: its id, or nothing for null.
std::optional<int32_t> special_id(const Pipeline& pipeline, const Fields& config, const char* name) {
  if (!config.has(name)) return std::nullopt;
  const Json& value = config.child(name);
  const std::string content =
      value.is_object() ? Fields(value, config.at(name)).text("content") : config.text(name);
  if (const auto* added = pipeline.added.by_content(content)) return added->id;
  if (const auto id = pipeline.model.id_of(content)) return id;
  throw UserError(config.at(name), "'" + content + "' is not in the vocabulary");
}

// bos_token_id and eos_token_id of the model's config.json, where no tokenizer_config.json says anything.
std::optional<int32_t> config_id(const Pipeline& pipeline, const Json& config, const char* name) {
  if (!config.is_object() || !config.contains(name)) return std::nullopt;
  const Json& value = config[name].is_array() && !config[name].empty() ? config[name][0] : config[name];
  if (!value.is_number_unsigned() || value.get<uint64_t>() >= static_cast<uint64_t>(pipeline.vocab_size))
    return std::nullopt;
  return value.get<int32_t>();
}

void set_special_ids(Pipeline& pipeline, const std::string& dir, const Json& tokenizer_config,
                     bool has_post_processor) {
  if (tokenizer_config.is_null()) {
    if (!std::filesystem::exists(dir + "/config.json")) return;
    const Json config = read_bounded_json(dir + "/config.json");
    pipeline.bos_id = config_id(pipeline, config, "bos_token_id");
    pipeline.eos_id = config_id(pipeline, config, "eos_token_id");
    return;
  }
  const Fields fields(tokenizer_config, {dir + "/tokenizer_config.json", 0, ""});
  pipeline.bos_id = special_id(pipeline, fields, "bos_token");
  pipeline.eos_id = special_id(pipeline, fields, "eos_token");
  if (has_post_processor) return;
  const auto wanted = [&](const char* name, const std::optional<int32_t>& id, const char* token) {
    if (!fields.flag_or(name, false)) return std::vector<int32_t>();
    if (!id) throw UserError(fields.at(name), std::string("true needs ") + token);
    return std::vector<int32_t>{*id};
  };
  auto before = wanted("add_bos_token", pipeline.bos_id, "bos_token");
  auto after = wanted("add_eos_token", pipeline.eos_id, "eos_token");
  if (!before.empty() || !after.empty())
    pipeline.post_processor = PostProcessor::around(std::move(before), std::move(after));
}

}  // namespace

std::unique_ptr<const Pipeline> load_pipeline(const std::string& dir) {
  const std::string config_path = dir + "/tokenizer_config.json";
  const Json config = std::filesystem::exists(config_path) ? read_bounded_json(config_path) : Json();
  Source source = read_source(dir, config);
  const auto at = [&](const char* key) { return Where{source.path, 0, key}; };

  Bpe model(source.model.vocabulary, source.model.merges, source.model.options, at("model"));
  Normalizer normalizer = Normalizer::read(source.normalizer, at("normalizer"));
  PreTokenizer pre_tokenizer = PreTokenizer::read(source.pre_tokenizer, at("pre_tokenizer"));
  AddedTokens added = AddedTokens::read(source.added_tokens, at("added_tokens"), model, normalizer);
  if (pre_tokenizer.ends_with_bytes() && model.take_bytes()) pre_tokenizer.leave_bytes();
  std::unique_ptr<Pipeline> pipeline(
      new Pipeline{std::move(normalizer),
                   std::move(pre_tokenizer),
                   std::move(model),
                   std::move(added),
                   PostProcessor::read(source.post_processor, at("post_processor")),
                   Decoder::read(source.decoder, at("decoder")),
                   {},
                   {},
                   0,
                   {},
                   {},
                   {}});
  pipeline->vocab_size = std::max(pipeline->model.id_limit(), pipeline->added.id_limit());
  set_special_ids(*pipeline, dir, config, !source.post_processor.is_null());
  if (const int32_t highest = pipeline->post_processor.highest_id(); highest >= pipeline->vocab_size)
    throw UserError(at("post_processor"), "adds id " + std::to_string(highest) +
                                              ", which is beyond the vocabulary's " +
                                              std::to_string(pipeline->vocab_size));
  pipeline->digest = digest_of(source.model, source.normalizer, source.pre_tokenizer, source.added_tokens,
                               pipeline->post_processor);
  return pipeline;
}

}  // namespace ptq::tokenizer
