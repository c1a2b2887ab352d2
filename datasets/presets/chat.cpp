// chat: calibration data of chat models. A document is a conversation (`messages`, or ShareGPT's
// `conversations`; datasets/conversation.h); each, in drawn order, is
// written by the model's chat template up to the end of its last answer and encoded without further special
// tokens (a template writes its BOS itself); they are joined and cut into windows side by side, so that short
// conversations serve too and nothing is padded.
#include "core/error.h"
#include "datasets/calibration_preset.h"
#include "datasets/rows.h"

namespace ptq {
namespace {

std::vector<std::vector<int32_t>> conversations(const CalibrationInput& input) {
  const auto needed = static_cast<size_t>(input.spec.samples * input.spec.length);
  const std::vector<JsonDocument> documents = read_rows(input.spec.path);
  std::vector<int32_t> stream;
  for (const size_t i : document_order(input, documents.size())) {
    if (stream.size() >= needed) break;
    const std::vector<ChatMessage> messages = read_conversation(documents[i]);
    std::string text;
    try {
      text = input.chat(messages);
    } catch (const UserError& error) {
      throw UserError(Where{documents[i].file, documents[i].line, conversation_field(documents[i])},
                      error.message());
    }
    const auto ids = input.tokenizer.encode(text, false);
    stream.insert(stream.end(), ids.begin(), ids.end());
  }
  if (stream.size() < needed)
    too_short(input, std::to_string(needed) + " tokens",
              "the conversations have " + std::to_string(stream.size()));
  return cut_windows(input, stream, input.spec.samples);
}

const CalibrationPresets::Registration registration(
    "chat", {.help = "conversations under the model's chat template, shuffled, joined, cut into windows",
             .uses_seed = true,
             .make = conversations,
             .reads_chat = true});

}  // namespace
}  // namespace ptq
