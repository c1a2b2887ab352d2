// HellaSwag (Zellers et al. 2019): how a scene goes on. Fields: activity_label, ctx_a, ctx_b, endings, label.
#include "evaluators/multiple_choice.h"
#include "evaluators/python_text.h"

namespace ptq {
namespace {

// The part of the documents that comes from WikiHow is full of "[title]" and other marks in brackets (on one
// line).
std::string without_marks(const std::string& raw) {
  const std::string text = replaced(stripped(raw), " [title]", ". ");
  std::string result;
  for (size_t i = 0; i < text.size();) {
    if (text[i] == '[') {
      const size_t stop = text.find_first_of("]\n", i + 1);
      if (stop != std::string::npos && text[stop] == ']') {
        i = stop + 1;
        continue;
      }
    }
    result += text[i++];
  }
  return replaced(result, "  ", " ");
}

ChoiceItem parse(const Fields& fields) {
  ChoiceItem item;
  item.question = without_marks(fields.text("activity_label") + ": " + fields.text("ctx_a") + " " +
                                capitalized(fields.text("ctx_b")));
  for (const std::string& ending : fields.choices("endings")) item.choices.push_back(without_marks(ending));
  item.gold = fields.index("label", item.choices.size());
  return item;
}

const TaskRegistry::Registration registration(
    "hellaswag", multiple_choice_entry("HellaSwag: how a scene goes on, 4 choices", {.parse = parse}));

}  // namespace
}  // namespace ptq
