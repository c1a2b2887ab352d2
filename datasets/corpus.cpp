#include "datasets/corpus.h"

#include <algorithm>
#include <string_view>

#include "core/error.h"
#include "datasets/data_files.h"
#include "datasets/rows.h"

namespace ptq {
namespace {

std::string read_texts(const std::string& path) {
  std::string text;
  for (const std::string& file : DataFiles(path).paths) text += read_text(file);
  return text;
}

// Whether the corpus is rows, all its files or none.
bool is_rows(const std::string& path) {
  const DataFiles files(path);
  PTQ_CHECK(!files.paths.empty(), "no file");
  const bool rows = is_rows_name(files.paths[0]);
  for (const std::string& file : files.paths)
    if (is_rows_name(file) != rows)
      throw UserError(Where{file, 0, ""}, std::string("is ") + (rows ? "a text" : "a file of rows") +
                                              " and the split's '" + files.paths[0] + "' is not");
  return rows;
}

}  // namespace

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
  if (!is_rows(path)) return read_texts(path);
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
  if (is_rows(path)) {
    for (JsonDocument& document : read_rows(path)) {
      std::string text = corpus_text(document);
      add(std::move(text), std::move(document.value));
    }
    return documents;
  }
  const std::string text = read_texts(path);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find("\n\n", begin), text.size());
    add(text.substr(begin, end - begin), Json());
    begin = end + 2;
  }
  return documents;
}

}  // namespace ptq
