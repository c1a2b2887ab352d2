#include "algorithms/subset_option.h"

#include <algorithm>

#include "core/error.h"

namespace ptq {

std::vector<SubsetKind> subsets_option(const Json& options, const std::string& where_key) {
  std::vector<std::string> names;
  for (const SubsetKind kind : all_subsets) names.push_back(subset_name(kind));
  const auto refuse = [&](const std::string& why) { throw UserError({"", 0, where_key + ".subsets"}, why); };
  std::vector<SubsetKind> result;
  for (const Json& name : options.at("subsets")) {
    if (!name.is_string()) refuse("a list of names of subsets is needed");
    const auto found = std::find(names.begin(), names.end(), name.get<std::string>());
    if (found == names.end()) refuse(unknown_name_message("subset", name.get<std::string>(), names));
    result.push_back(all_subsets[static_cast<size_t>(found - names.begin())]);
  }
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  if (result.empty()) refuse("empty; allowed: " + all);
  return result;
}

}  // namespace ptq
