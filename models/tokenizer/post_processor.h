// Post-processors of tokenizer.json: what is put around a text's ids (BOS, EOS). TemplateProcessing,
// BertProcessing, RobertaProcessing, ByteLevel (which changes offsets only) and Sequence with at most one
// that adds tokens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/tokenizer/fields.h"

namespace ptq::tokenizer {

class PostProcessor {
 public:
  // null: the ids as they are. Throws UserError for what is not supported.
  static PostProcessor read(const Json& value, const Where& where);
  static PostProcessor around(std::vector<int32_t> before, std::vector<int32_t> after);

  std::vector<int32_t> apply(std::vector<int32_t> ids, bool add_special_tokens) const;

  int32_t highest_id() const;  // among the ids it adds; -1 when it adds none

  // Text that determines the result, for digests.
  std::string describe() const;

 private:
  struct Item {
    bool sequence;             // the text's ids
    std::vector<int32_t> ids;  // else these
  };
  void read_into(const Json& value, const Where& where, int depth);
  void read_template(const Fields& fields);
  void read_pair(const Fields& fields);

  bool has_template_ = false;
  std::vector<Item> items_;
};

}  // namespace ptq::tokenizer
