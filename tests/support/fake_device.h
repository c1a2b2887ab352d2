// A device that is not the CPU, without a GPU: LibTorch's place for other backends (PrivateUse1). Its
// addresses cannot be read (a loop over data_ptr() of its tensors crashes), its operations are the CPU's on
// copies, and an operation on tensors of both throws, as on CUDA. Include in one source of a program.
#pragma once

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <sys/mman.h>
#include <torch/library.h>

#include <map>
#include <mutex>
#include <stdexcept>
#include <vector>

namespace ptq::test {

inline const at::Device fake_device(at::kPrivateUse1, 0);

class FakeMemory : public c10::Allocator {
 public:
  static FakeMemory& get() {
    static FakeMemory memory;
    return memory;
  }
  c10::DataPtr allocate(size_t bytes) override {
    const std::lock_guard lock(mutex_);
    char* const address = next_;
    next_ += (bytes / 64 + 1) * 64;  // no address comes twice
    blocks_[address].resize(bytes + 1);
    return {address, address, [](void* block) { get().release(block); }, fake_device};
  }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(host(to), host(from), bytes);
  }
  // Where an address's bytes really are.
  char* host(const void* address) const {
    const std::lock_guard lock(mutex_);
    auto block = blocks_.upper_bound(static_cast<char*>(const_cast<void*>(address)));
    if (block == blocks_.begin()) throw std::logic_error("not an address of the fake device");
    --block;
    const auto offset = static_cast<size_t>(static_cast<const char*>(address) - block->first);
    if (offset >= block->second.size()) throw std::logic_error("memory that has been freed");
    return const_cast<char*>(block->second.data()) + offset;
  }

 private:
  FakeMemory()
      : next_(static_cast<char*>(::mmap(nullptr, size_t{1} << 40, PROT_NONE,
                                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {}
  void release(void* block) {
    const std::lock_guard lock(mutex_);
    blocks_.erase(static_cast<char*>(block));
  }
  mutable std::mutex mutex_;
  char* next_;
  std::map<char*, std::vector<char>> blocks_;
};

// The tensor's elements as a CPU tensor over the same bytes.
inline at::Tensor on_host(const at::Tensor& tensor) {
  if (tensor.is_cpu() || tensor.numel() == 0)
    return tensor.is_cpu() ? tensor : at::empty(tensor.sizes(), tensor.dtype());
  return at::from_blob(FakeMemory::get().host(tensor.const_data_ptr()), tensor.sizes(), tensor.strides(),
                       at::TensorOptions(tensor.scalar_type()));
}

namespace fake {

constexpr c10::DispatchKeySet keys(c10::DispatchKey::PrivateUse1);

inline at::Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                        std::optional<at::Device>, std::optional<bool>,
                        std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(size, &FakeMemory::get(), keys, dtype.value_or(at::kFloat), format);
}
inline at::Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride,
                                std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                                std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(size, stride, &FakeMemory::get(), keys,
                                           dtype.value_or(at::kFloat));
}
inline at::Tensor& copy(at::Tensor& to, const at::Tensor& from, bool) {
  if (to.numel() > 0) on_host(to).copy_(on_host(from));
  return to;
}
inline at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  if (to.sizes() != from.sizes()) {
    const at::Tensor room = at::empty(from.sizes(), to.options());
    to.unsafeGetTensorImpl()->set_storage_keep_dtype(room.storage());
    to.unsafeGetTensorImpl()->set_sizes_contiguous(from.sizes());
  }
  at::Tensor target = to;
  return copy(target, from, false);
}

inline void check_on_device(const c10::OperatorHandle& op, const at::Tensor& tensor) {
  if (tensor.defined() && tensor.is_cpu() && tensor.dim() > 0)
    throw std::logic_error(op.schema().name() + " gets tensors of two devices");
}
inline void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const size_t count = op.schema().arguments().size();
  for (size_t i = stack->size() - count; i < stack->size(); ++i) {
    const c10::IValue& value = (*stack)[i];
    if (value.isTensor()) check_on_device(op, value.toTensor());
    else if (value.isTensorList())
      for (const at::Tensor& tensor : value.toTensorVector()) check_on_device(op, tensor);
  }
  at::native::cpu_fallback(op, stack);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("as_strided", &at::native::as_strided_tensorimpl);
  m.impl("view", &at::native::view);
  m.impl("_reshape_alias", &at::native::_reshape_alias);
  m.impl("copy_", &copy);
  m.impl("_copy_from_and_resize", &copy_from_and_resize);
}
TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>()); }
C10_REGISTER_GUARD_IMPL(PrivateUse1, c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::PrivateUse1>)

}  // namespace fake
}  // namespace ptq::test
