#include "core/machine.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

namespace ptq {
namespace {

TEST(Machine, PeakFollowsWhatIsTouched) {
  const int64_t before = peak_resident_bytes();
  EXPECT_GT(before, 1 << 20);
  constexpr int64_t size = 64 << 20;
  {
    // One byte a page: what is only reserved is not resident.
    std::vector<char> block(size);
    for (int64_t i = 0; i < size; i += 4096) const_cast<volatile char&>(block[i]) = 1;
  }
  const int64_t after = peak_resident_bytes();
  EXPECT_GE(after, before);
  EXPECT_GE(after, size);  // and it stays after the block is freed
}

TEST(Machine, DroppedPagesOfAFileCountNoMoreAndComeBack) {
  constexpr size_t size = 64 << 20;
  const auto path = std::filesystem::temp_directory_path() / ("machine_pages." + std::to_string(getpid()));
  std::ofstream(path, std::ios::binary) << std::string(size, 'x');
  const int file = open(path.c_str(), O_RDONLY);
  auto* const bytes = static_cast<const char*>(mmap(nullptr, size, PROT_READ, MAP_SHARED, file, 0));
  ASSERT_NE(bytes, MAP_FAILED);
  const auto read = [&] { return std::count(bytes, bytes + size, 'x'); };
  ASSERT_EQ(read(), static_cast<int64_t>(size));
  forget_peak();
  const int64_t held = peak_resident_bytes();
  drop_mapped_pages(bytes + 1, size - 2);  // all pages but the first and the last
  forget_peak();
  EXPECT_LE(peak_resident_bytes(), held - static_cast<int64_t>(size) + (8 << 20));
  EXPECT_EQ(read(), static_cast<int64_t>(size));
  munmap(const_cast<char*>(bytes), size);
  close(file);
  std::filesystem::remove(path);
}

TEST(Machine, AsksForHugePagesUnlessTheUserSpoke) {
  setenv("THP_MEM_ALLOC_ENABLE", "0", 1);
  use_huge_pages();
  EXPECT_STREQ(std::getenv("THP_MEM_ALLOC_ENABLE"), "0");
  unsetenv("THP_MEM_ALLOC_ENABLE");
  use_huge_pages();
  EXPECT_STREQ(std::getenv("THP_MEM_ALLOC_ENABLE"), "1");
}

TEST(Machine, ReadsTheProcessorsName) {
  const auto path = std::filesystem::temp_directory_path() / ("machine_test." + std::to_string(getpid()));
  std::ofstream(path) << "processor\t: 0\nmodel name\t: Some CPU @ 2.10GHz \nmodel name\t: other\n";
  EXPECT_EQ(cpu_model(path), "Some CPU @ 2.10GHz");
  std::filesystem::remove(path);
  EXPECT_FALSE(cpu_model("/nonexistent").empty());  // the architecture's name
  EXPECT_FALSE(host_name().empty());
}

}  // namespace
}  // namespace ptq
