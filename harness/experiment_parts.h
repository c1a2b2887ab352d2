// Pieces of reading an experiment, shared by its files.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "harness/experiment.h"

namespace ptq {

// The elements of a list as (path, value), `axis` being its path; a single element may stand without the
// list. Throws UserError when the list is empty.
std::vector<std::pair<std::string, Json>> elements(const YamlDocument& document, const std::string& axis,
                                                   const Json& value);
std::vector<std::pair<std::string, Json>> elements(const YamlDocument& document, const std::string& axis);

// A map of axes to one or several of their names; `more_keys` may stand there too. After the axes are read.
Rule read_rule(const YamlDocument& document, const Experiment& e, const Json& value, const std::string& path,
               const std::vector<std::string>& more_keys);

// The keys `table` and `expected`, after the axes.
void read_table(const YamlDocument& document, Experiment& e);
void read_expected(const YamlDocument& document, Experiment& e);

}  // namespace ptq
