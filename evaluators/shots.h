// Shots: solved examples before a question, drawn as lm-eval 0.4.13 does.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/python_random.h"
#include "datasets/text.h"
#include "evaluators/prompt.h"
#include "evaluators/task.h"

namespace ptq {

// random: a fresh draw for each document from one stream of Python's random.Random(1234); first: the pool's
// first ones.
enum class ShotOrder { random, first };

using DocumentFilter = std::function<bool(const JsonDocument&)>;

struct TaskDocuments {
  std::vector<JsonDocument> asked;
  std::vector<JsonDocument> pool;  // what shots are drawn from; empty when there are none
};

// The documents of spec.path that pass `keep` (empty: all), at most spec.limit; and spec.fewshot_path's, or
// when that is empty spec.path's, all of them. Throws UserError when there is none to ask, and for a negative
// limit or number of shots.
TaskDocuments read_documents(const EvaluationSpec& spec, const DocumentFilter& keep = {});
// The same for each value of the string under `field`, read once; the limit holds for each.
std::map<std::string, TaskDocuments> read_documents_by(const EvaluationSpec& spec, const std::string& field);

class Shots {
 public:
  // solve: a document with its answer. Without spec.fewshot_path the document in question is left out of its
  // own shots.
  Shots(const EvaluationSpec& spec, ShotOrder order, std::vector<JsonDocument> pool,
        std::function<Example(const JsonDocument&)> solve);

  // The examples before `document`'s own question. Call once for each document, in order: the draws follow
  // one another. Throws UserError when the pool is too small.
  std::vector<Example> before(const JsonDocument& document);

 private:
  std::vector<size_t> draw(const JsonDocument& document);

  size_t count_;
  ShotOrder order_;
  bool exclude_self_;
  std::string path_;
  std::vector<JsonDocument> pool_;
  std::function<Example(const JsonDocument&)> solve_;
  PythonRandom random_;
};

}  // namespace ptq
