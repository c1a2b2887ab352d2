// A split that lies in several files, on this machine's disk: the hub's numbered files, a folder, a glob.
// Files come in the natural order of their names. Throws UserError at `where`: a numbered set lacks a file
// (which one is said), several sets or formats where one is wanted.
#pragma once

#include <optional>
#include <string>

#include "core/error.h"
#include "datasets/data_files.h"

namespace ptq {

// The files that match, by the shell's *, ? and [...]; none: no glob, or nothing matches. Of a numbered set
// all files are needed whose names match.
std::optional<DataFiles> files_of_glob(const Where& where, const std::string& pattern);

// <stem>-00000-of-00002.parquet and so on; or all files that can be read of a folder <stem>, of one format.
std::optional<DataFiles> files_of_stem(const Where& where, const std::string& stem);

// A split in a folder, where there is no single file: files_of_stem of <folder>/<split>, or files that end as
// c4-<split>.00000-of-01024.json.gz; or the same in <folder>/data.
std::optional<DataFiles> files_of_split(const Where& where, const std::string& folder,
                                        const std::string& split);

}  // namespace ptq
