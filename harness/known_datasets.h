// The data sets of the papers: which file of which of the hub's data sets a name stands for, so that a
// missing file's message says what to get and where to put it.
#pragma once

#include <string>

namespace ptq {

// "'c4' is the hub's allenai/c4: put en/c4-validation..., at <folder>/c4/validation.json.gz, or say ..." for a
// corpus or documents called `written` ("c4", "data/piqa.jsonl": the first part of the path that is a known name); ""
// for an unknown one. `split` is the corpus's, "" for documents.
std::string where_to_get(const std::string& written, const std::string& split, const std::string& folder);

}  // namespace ptq
