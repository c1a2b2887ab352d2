// How many columns QUIK leaves whole (quik.cpp).
#pragma once

#include <cstdint>
#include <string>

namespace ptq {

// `columns` of `hidden` inputs, as large a share of `inputs`, rounded to the nearest. Throws UserError naming
// `what` (a layer) where that is all of them or more.
int64_t quik_columns(int64_t columns, int64_t hidden, int64_t inputs, const std::string& what);

}  // namespace ptq
