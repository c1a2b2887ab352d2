#include "evaluators/shots.h"

#include <numeric>

#include "core/error.h"
#include "datasets/data_files.h"
#include "datasets/rows.h"
#include "evaluators/fields.h"

namespace ptq {
namespace {

constexpr uint64_t kSeed = 1234;  // lm-eval's default for few-shot draws

void check(const EvaluationSpec& spec) {
  if (spec.limit < 0)
    throw UserError("limit is " + std::to_string(spec.limit) + "; allowed: 0 (all) or more");
  if (spec.shots < 0) throw UserError("shots is " + std::to_string(spec.shots) + "; allowed: 0 or more");
}

const std::string& pool_path(const EvaluationSpec& spec) {
  return spec.fewshot_path.empty() ? spec.path : spec.fewshot_path;
}

bool below_limit(const EvaluationSpec& spec, const std::vector<JsonDocument>& asked) {
  return spec.limit == 0 || asked.size() < static_cast<size_t>(spec.limit);
}

// The documents of what is asked, then of what shots are drawn from, each given away to one of the two.
void for_each_document(const EvaluationSpec& spec, const std::function<void(JsonDocument&&)>& ask,
                       const std::function<void(JsonDocument&&)>& offer) {
  check(spec);
  std::vector<JsonDocument> documents = read_rows(spec.path);
  if (spec.shots > 0 && spec.fewshot_path.empty())
    for (const JsonDocument& document : documents) offer(JsonDocument(document));
  for (JsonDocument& document : documents) ask(std::move(document));
  if (spec.shots > 0 && !spec.fewshot_path.empty())
    for (JsonDocument& document : read_rows(spec.fewshot_path)) offer(std::move(document));
}

}  // namespace

TaskDocuments read_documents(const EvaluationSpec& spec, const DocumentFilter& keep) {
  TaskDocuments result;
  for_each_document(
      spec,
      [&](JsonDocument&& document) {
        if ((!keep || keep(document)) && below_limit(spec, result.asked))
          result.asked.push_back(std::move(document));
      },
      [&](JsonDocument&& document) {
        if (!keep || keep(document)) result.pool.push_back(std::move(document));
      });
  if (result.asked.empty())
    throw UserError(Where{DataFiles(spec.path).text(), 0, ""}, "no documents for task '" + spec.task + "'");
  return result;
}

std::map<std::string, TaskDocuments> read_documents_by(const EvaluationSpec& spec, const std::string& field) {
  std::map<std::string, TaskDocuments> result;
  const auto part = [&](const JsonDocument& document) -> TaskDocuments& {
    return result[Fields(document).text(field)];
  };
  for_each_document(
      spec,
      [&](JsonDocument&& document) {
        TaskDocuments& documents = part(document);
        if (below_limit(spec, documents.asked)) documents.asked.push_back(std::move(document));
      },
      [&](JsonDocument&& document) { part(document).pool.push_back(std::move(document)); });
  return result;
}

Shots::Shots(const EvaluationSpec& spec, ShotOrder order, std::vector<JsonDocument> pool,
             std::function<Example(const JsonDocument&)> solve)
    : count_(static_cast<size_t>(spec.shots)),
      order_(order),
      exclude_self_(spec.fewshot_path.empty()),
      path_(DataFiles(pool_path(spec)).text()),
      pool_(std::move(pool)),
      solve_(std::move(solve)),
      random_(kSeed) {}

std::vector<Example> Shots::before(const JsonDocument& document) {
  std::vector<Example> examples;
  if (count_ == 0) return examples;
  for (const size_t i : draw(document)) examples.push_back(solve_(pool_[i]));
  return examples;
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
