// The data sets of the papers: which of the hub's data sets a name stands for, so that `harness fetch` can
// get it and a missing file's message says what to get and where to put it.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace ptq {

struct KnownDataset {
  std::string name;                 // as it stands in experiments
  std::string hub;                  // the data set's id
  std::string config;               // the folder of its files; "" for the only one, or the one called default
  std::vector<std::string> splits;  // those that are read, the first of a task is what is asked
  std::string file;                 // the one file of a split, where it is not the rows as Parquet
  std::string by_hand;  // what to get from the hub without `harness fetch`; {split}, {shards} as in `file`
  std::string place;    // below the data folder, by hand
  // Parquet rows that a text is made of: this field's strings, with `join` between them. "": they stay rows.
  std::string text_field = "", join = "";
};

// Corpora (their place has a {split}) and tasks' documents.
const std::vector<KnownDataset>& known_datasets();
std::optional<KnownDataset> find_known_dataset(const std::string& name);
bool is_corpus(const KnownDataset& known);

// `text` with {split} and C4's {shards} filled in.
std::string for_split(const std::string& text, const std::string& split);

// Where `harness fetch` puts a split below the data folder, without the file's ending: "c4/train", "piqa",
// "mmlu_dev" (a task's other splits).
std::string fetched_place(const KnownDataset& known, const std::string& split);

// "'c4' is the hub's allenai/c4: `harness fetch c4` gets it; or put en/c4-validation..., as it is, at
// <folder>/c4/validation.json.gz, or say ..." for a corpus or documents called `written` ("c4",
// "data/piqa.jsonl": the first part of the path that is a known name); "" for an unknown one. `split` is the
// corpus's, "" for documents.
std::string where_to_get(const std::string& written, const std::string& split, const std::string& folder);

}  // namespace ptq
