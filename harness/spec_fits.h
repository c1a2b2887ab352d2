// Whether a quantization makes sense for a model: checked before any work.
#pragma once

#include "algorithms/method.h"
#include "core/error.h"
#include "models/config.h"
#include "quant/spec.h"

namespace ptq {

// Groups divide the rows of each linear, the inputs and the heads; every rule of `layers` matches a linear; the
// fewest bits of an allocation are within its average.
// Throws UserError at `where`; `whose` (a model) ends its message.
void check_spec_fits(const QuantSpec& spec, const ModelConfig& config, const Where& where,
                     const std::string& whose);

// Every pattern over names of linears in the steps' options (Step::linear_patterns) matches one of the
// model's.
void check_patterns_fit(const Method& method, const ModelConfig& config, const Where& where,
                        const std::string& whose);

}  // namespace ptq
