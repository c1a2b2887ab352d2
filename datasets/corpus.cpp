#include "datasets/corpus.h"

#include <algorithm>
#include <string_view>

#include "core/error.h"
#include "datasets/rows.h"

namespace ptq {

const std::string& corpus_text(const JsonDocument& document) {
  const auto found = document.value.find("text");
  if (found == document.value.end() || !found->is_string())
    throw UserError(Where{document.file, document.line, "text"},
                    found == document.value.end()
                        ? "missing; a corpus of documents has a string here"
                        : std::string("a string is needed, this is ") + found->type_name());
  return found->get_ref<const std::string&>();
}

std::string read_corpus(const std::string& path) {
  if (!is_rows_name(path)) return read_text(path);
  std::string corpus;
  bool first = true;
  for (const JsonDocument& document : read_rows(path)) {
    if (!first) corpus += "\n\n";
    corpus += corpus_text(document);
    first = false;
  }
  return corpus;
}

std::vector<CorpusDocument> read_corpus_documents(const std::string& path) {
  std::vector<CorpusDocument> documents;
  const auto add = [&](std::string text, Json fields) {
    if (text.find_first_not_of(" \t\r\n") != std::string::npos)
      documents.push_back({std::move(text), std::move(fields)});
  };
  if (is_rows_name(path)) {
    for (JsonDocument& document : read_rows(path)) {
      std::string text = corpus_text(document);
      add(std::move(text), std::move(document.value));
    }
    return documents;
  }
  const std::string text = read_text(path);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find("\n\n", begin), text.size());
    add(text.substr(begin, end - begin), Json());
    begin = end + 2;
  }
  return documents;
}

}  // namespace ptq
