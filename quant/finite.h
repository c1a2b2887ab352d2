// Whether every element is a finite number.
#pragma once

#include <ATen/ATen.h>

#include <cmath>

namespace ptq {

inline bool all_finite(const at::Tensor& value) {
  // A sum is finite only if every term is; it may overflow for finite terms, so look closer then.
  return std::isfinite(value.sum().item<double>()) || value.isfinite().all().item<bool>();
}

}  // namespace ptq
