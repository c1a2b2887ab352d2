// The option `subsets` of steps that work on some of a block's subsets.
#pragma once

#include <string>
#include <vector>

#include "core/json.h"
#include "models/decoder.h"

namespace ptq {

// options["subsets"]: a list of names. Throws UserError (`where_key`.subsets) for other names and for none.
std::vector<SubsetKind> subsets_option(const Json& options, const std::string& where_key);

}  // namespace ptq
