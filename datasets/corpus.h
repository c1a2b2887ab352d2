// A corpus: one text, or documents where calibration draws whole ones.
#pragma once

#include <string>
#include <vector>

#include "core/json.h"
#include "datasets/text.h"

namespace ptq {

// The string under `text` of a corpus's document. Throws UserError with file and line when there is none.
const std::string& corpus_text(const JsonDocument& document);

// The text of a corpus: the file as it is or, of rows (rows.h), the documents' strings joined by a blank line
// ("\n\n"). Throws UserError as the readers (text.h) do, and for a document without that string.
std::string read_corpus(const std::string& path);

struct CorpusDocument {
  std::string text;
  Json fields;  // the whole JSON object; null for plain text
};
// Rows: one document each. Plain text: what stands between blank lines ("\n\n"), so that joining
// documents as read_corpus does gives the text again. Documents of white space only are left out. Throws
// UserError as read_corpus does.
std::vector<CorpusDocument> read_corpus_documents(const std::string& path);

}  // namespace ptq
