// How kernels of two dtypes reach a tensor's memory: float, or uint16_t for bfloat16. Internal to kernels.cpp
// and gradient_kernels.cpp, which ask kernels_serve() first.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "core/error.h"

namespace ptq {

template <typename T>
const T* data(const at::Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}
template <typename T>
T* data_to_write(const at::Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

// Calls body with a float or a uint16_t, as the dtype says.
template <typename Body>
void by_dtype(at::ScalarType dtype, const Body& body) {
  if (dtype == at::kFloat) {
    body(float{});
  } else {
    PTQ_CHECK(dtype == at::kBFloat16);
    body(uint16_t{});
  }
}

}  // namespace ptq
