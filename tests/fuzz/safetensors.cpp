#include "models/safetensors.h"

#include <fstream>

#include "tests/fuzz/targets.h"
#include "tests/support/temporary_folder.h"

void ptq::fuzz::safetensors(std::string_view bytes) {
  static const test::TemporaryFolder folder;
  const std::string path = folder / "model.safetensors";
  std::ofstream(path, std::ios::binary) << bytes;
  expect_user_error_at_most([&] {
    const auto file = SafetensorsFile::open(path);
    for (const std::string& name : file->names())
      expect_user_error_at_most([&] {
        const at::Tensor tensor = file->tensor(name);
        const auto* data = static_cast<const volatile char*>(tensor.const_data_ptr());
        for (int64_t i = 0; i < static_cast<int64_t>(tensor.nbytes()); ++i) static_cast<void>(data[i]);
      });
  });
}
