// Shots: solved examples before a question, drawn and joined as lm-eval 0.4.13 does.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/python_random.h"
#include "datasets/text.h"
#include "evaluators/task.h"

namespace ptq {

// random: a fresh draw for each document from one stream of Python's random.Random(1234); first: the pool's
// first ones.
enum class ShotOrder { random, first };

using DocumentFilter = std::function<bool(const JsonDocument&)>;

// The documents of spec.path that pass `keep` (empty: all), at most spec.limit. Throws UserError when there
// is none, and for a negative limit or number of shots.
std::vector<JsonDocument> task_documents(const EvaluationSpec& spec, const DocumentFilter& keep);

class Shots {
 public:
  // render: a solved document's text, with what parts it from the next. The pool is spec.fewshot_path's
  // documents, or when that is empty spec.path's (all, not only the first `limit`); then the document in
  // question is left out of its own shots.
  Shots(const EvaluationSpec& spec, ShotOrder order, const DocumentFilter& keep,
        std::function<std::string(const JsonDocument&)> render);

  // The text before `document`'s own question. Call once for each document, in order: the draws follow one
  // another. Throws UserError when the pool is too small.
  std::string before(const JsonDocument& document);

 private:
  std::vector<size_t> draw(const JsonDocument& document);

  size_t count_;
  ShotOrder order_;
  bool exclude_self_;
  std::string path_;
  std::vector<JsonDocument> pool_;
  std::function<std::string(const JsonDocument&)> render_;
  PythonRandom random_;
};

}  // namespace ptq
