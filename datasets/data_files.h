// DataFiles: the files of a data set's split: one, or several that are read one after another as one. Where a
// specification has one path (CalibrationSpec, EvaluationSpec), several stand in it with line feeds between.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace ptq {

struct DataFiles {
  std::vector<std::string> paths;  // in the order of their rows

  DataFiles() = default;
  explicit DataFiles(const std::string& path);  // of a specification; "": none
  explicit DataFiles(std::vector<std::string> files) : paths(std::move(files)) {}

  std::string path() const;  // for a specification
  std::string text() const;  // for messages: "a.parquet", "a.parquet and 3 more files"
};

// Of files that are read: ".parquet", ".parquet.gz", ...
const std::vector<std::string>& data_endings();
// ".json.gz" of "en/c4-train.00000-of-01024.json.gz"; "" for what no reader reads.
std::string data_ending(const std::string& name);

// A name that says which of how many files it is, as the hub's do: train-00000-of-00002.parquet.
struct NumberedName {
  std::string stem;    // "data/train"
  std::string before;  // what stands between it and the number: "-" or "."
  int64_t index = 0, count = 0;
  size_t digits = 0, count_digits = 0;
  std::string ending;  // ".parquet"

  std::string of(int64_t other) const;  // the name of another file of the set
  bool same_set(const NumberedName& other) const;
};
std::optional<NumberedName> numbered_name(const std::string& path);

// Numbers in names count as numbers: part-2 before part-10. The hub's names sort as their letters do.
bool natural_less(const std::string& a, const std::string& b);

// The file that `paths`, which hold some of a numbered set, lack; "" when they are whole (numbers from 0 or,
// where the last is there and 0 is not, from 1). `wanted` (empty: all) says which names of the set are asked.
std::string missing_of_set(const std::vector<std::string>& paths,
                           const std::function<bool(const std::string&)>& wanted = {});

}  // namespace ptq
