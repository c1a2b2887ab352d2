#include "models/tokenizer/post_processor.h"

#include <algorithm>
#include <utility>

#include "models/tokenizer/normalizer.h"

namespace ptq::tokenizer {
namespace {

int32_t read_id(const Json& value, const Where& where) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > INT32_MAX)
    throw UserError(where,
                    "must be a token id, is " + (value.is_number() ? value.dump() : value.type_name()));
  return value.get<int32_t>();
}

}  // namespace

PostProcessor PostProcessor::read(const Json& value, const Where& where) {
  PostProcessor processor;
  if (!value.is_null()) processor.read_into(value, where, 0);
  return processor;
}

PostProcessor PostProcessor::around(std::vector<int32_t> before, std::vector<int32_t> after) {
  PostProcessor processor;
  processor.has_template_ = true;
  processor.items_ = {{false, std::move(before)}, {true, {}}, {false, std::move(after)}};
  return processor;
}

void PostProcessor::read_into(const Json& value, const Where& where, int depth) {
  if (depth > kMaxSequenceDepth) throw UserError(where, "nested too deeply");
  const Fields fields(value, where);
  const std::string type = fields.text("type");
  if (type == "Sequence") {
    fields.allow({"type", "processors"});
    size_t index = 0;
    for (const Json& child : fields.array("processors"))
      read_into(child, fields.at("processors[" + std::to_string(index++) + "]"), depth + 1);
    return;
  }
  if (type == "ByteLevel") {
    fields.allow({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    return;
  }
  if (type != "TemplateProcessing" && type != "BertProcessing" && type != "RobertaProcessing")
    fields.refuse("type", type,
                  {"BertProcessing", "ByteLevel", "RobertaProcessing", "Sequence", "TemplateProcessing"});
  if (has_template_) throw UserError(where, "is a second one that adds tokens; supported: one");
  has_template_ = true;
  if (type == "TemplateProcessing") read_template(fields);
  else read_pair(fields);
}

void PostProcessor::read_template(const Fields& fields) {
  fields.allow({"type", "single", "pair", "special_tokens"});
  const Fields special(fields.child("special_tokens"), fields.at("special_tokens"));
  size_t index = 0;
  for (const Json& value : fields.array("single")) {
    const Fields piece(value, fields.at("single[" + std::to_string(index++) + "]"));
    piece.allow({"Sequence", "SpecialToken"});
    if (piece.has("Sequence") == piece.has("SpecialToken"))
      throw UserError(piece.at(""), "must have one of Sequence and SpecialToken");
    if (piece.has("Sequence")) {
      const Fields sequence(piece.child("Sequence"), piece.at("Sequence"));
      const std::string id = sequence.text("id");
      if (id != "A") sequence.refuse("id", id, {"A"});
      items_.push_back({true, {}});
      continue;
    }
    const Fields token(piece.child("SpecialToken"), piece.at("SpecialToken"));
    const std::string id = token.text("id");
    if (!special.has(id.c_str())) throw UserError(token.at("id"), "'" + id + "' is not among special_tokens");
    const Fields entry(special.child(id.c_str()), special.at(id));
    Item item{false, {}};
    for (const Json& number : entry.array("ids")) item.ids.push_back(read_id(number, entry.at("ids")));
    items_.push_back(std::move(item));
  }
}

// BertProcessing and RobertaProcessing: cls, the text, sep; each of the two is ["token", id].
void PostProcessor::read_pair(const Fields& fields) {
  fields.allow({"type", "cls", "sep", "trim_offsets", "add_prefix_space"});
  const auto id_of = [&](const char* name) {
    const Json& value = fields.array(name);
    if (value.size() != 2 || !value[0].is_string()) throw UserError(fields.at(name), "must be [token, id]");
    return read_id(value[1], fields.at(name));
  };
  items_ = {{false, {id_of("cls")}}, {true, {}}, {false, {id_of("sep")}}};
}

std::vector<int32_t> PostProcessor::apply(std::vector<int32_t> ids, bool add_special_tokens) const {
  if (!has_template_) return ids;
  std::vector<int32_t> out;
  out.reserve(ids.size() + 4);
  for (const Item& item : items_) {
    if (!item.sequence && !add_special_tokens) continue;
    const auto& source = item.sequence ? ids : item.ids;
    out.insert(out.end(), source.begin(), source.end());
  }
  return out;
}

int32_t PostProcessor::highest_id() const {
  int32_t highest = -1;
  for (const Item& item : items_)
    for (const int32_t id : item.ids) highest = std::max(highest, id);
  return highest;
}

std::string PostProcessor::describe() const {
  std::string out = has_template_ ? "template" : "none";
  for (const Item& item : items_) {
    out += item.sequence ? " text" : " ids";
    for (const int32_t id : item.ids) out += " " + std::to_string(id);
  }
  return out;
}

}  // namespace ptq::tokenizer
