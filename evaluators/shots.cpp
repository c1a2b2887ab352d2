#include "evaluators/shots.h"

#include <numeric>

#include "core/error.h"

namespace ptq {
namespace {

constexpr uint64_t kSeed = 1234;  // lm-eval's default for few-shot draws

std::vector<JsonDocument> kept_documents(const std::string& path, const DocumentFilter& keep) {
  std::vector<JsonDocument> documents = read_jsonl(path);
  if (keep) std::erase_if(documents, [&](const JsonDocument& document) { return !keep(document); });
  return documents;
}

}  // namespace

std::vector<JsonDocument> task_documents(const EvaluationSpec& spec, const DocumentFilter& keep) {
  if (spec.limit < 0)
    throw UserError("limit is " + std::to_string(spec.limit) + "; allowed: 0 (all) or more");
  if (spec.shots < 0) throw UserError("shots is " + std::to_string(spec.shots) + "; allowed: 0 or more");
  std::vector<JsonDocument> documents = kept_documents(spec.path, keep);
  if (documents.empty())
    throw UserError(Where{spec.path, 0, ""}, "no documents for task '" + spec.task + "'");
  if (spec.limit > 0 && static_cast<size_t>(spec.limit) < documents.size())
    documents.resize(static_cast<size_t>(spec.limit));
  return documents;
}

Shots::Shots(const EvaluationSpec& spec, ShotOrder order, const DocumentFilter& keep,
             std::function<std::string(const JsonDocument&)> render)
    : count_(static_cast<size_t>(spec.shots)),
      order_(order),
      exclude_self_(spec.fewshot_path.empty()),
      path_(exclude_self_ ? spec.path : spec.fewshot_path),
      render_(std::move(render)),
      random_(kSeed) {
  if (count_ > 0) pool_ = kept_documents(path_, keep);
}

std::string Shots::before(const JsonDocument& document) {
  std::string text;
  if (count_ == 0) return text;
  for (const size_t i : draw(document)) text += render_(pool_[i]);
  return text;
}

std::vector<size_t> Shots::draw(const JsonDocument& document) {
  const auto is_self = [&](size_t i) { return exclude_self_ && pool_[i].value == document.value; };
  const auto too_few = [&](size_t needed, size_t there) {
    throw UserError(Where{path_, 0, ""}, std::to_string(count_) + " shots need " + std::to_string(needed) +
                                             " documents to draw from, there are " + std::to_string(there));
  };
  std::vector<size_t> chosen;
  if (order_ == ShotOrder::first) {
    for (size_t i = 0; i < pool_.size() && chosen.size() < count_; ++i)
      if (!is_self(i)) chosen.push_back(i);
    if (chosen.size() < count_) too_few(count_, chosen.size());
    return chosen;
  }
  // One more than needed is drawn where the document itself may be among them.
  const size_t needed = count_ + (exclude_self_ ? 1 : 0);
  if (pool_.size() < needed) too_few(needed, pool_.size());
  for (const size_t i : random_.sample(pool_.size(), needed))
    if (!is_self(i) && chosen.size() < count_) chosen.push_back(i);
  if (chosen.size() == count_) return chosen;
  // Copies of the document took more than one place: drawn again, from the others.
  std::vector<size_t> others;
  for (size_t i = 0; i < pool_.size(); ++i)
    if (!is_self(i)) others.push_back(i);
  if (others.size() < count_) too_few(count_, others.size());
  chosen.clear();
  for (const size_t i : random_.sample(others.size(), count_)) chosen.push_back(others[i]);
  return chosen;
}

}  // namespace ptq
