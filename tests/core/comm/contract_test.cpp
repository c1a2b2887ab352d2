// The contract over self, and over MPI when mpirun starts this program (tests/CMakeLists.txt does, at 1 to 8
// ranks).
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/core/comm/contract.h"

namespace ptq {
namespace {

std::unique_ptr<Communicator> the_world;

class EndOfWorld : public ::testing::Environment {
 public:
  void TearDown() override { the_world.reset(); }
};
[[maybe_unused]] const ::testing::Environment* const end_of_world =
    ::testing::AddGlobalTestEnvironment(new EndOfWorld);

class CommunicatorContract : public ::testing::TestWithParam<size_t> {};

TEST_P(CommunicatorContract, Holds) { test::contract()[GetParam()].run(test::world(), at::kCPU); }

INSTANTIATE_TEST_SUITE_P(World, CommunicatorContract, ::testing::Range<size_t>(0, test::contract().size()),
                         [](const auto& info) { return test::contract()[info.param].name; });

TEST(SelfCommunicator, IsRankZeroOfOneAndTalksToItself) {
  const std::unique_ptr<Communicator> self = make_self_communicator();
  EXPECT_EQ(self->rank(), 0);
  EXPECT_EQ(self->size(), 1);
  EXPECT_EQ(self->split(-1, 0), nullptr);
  self->send(0, 9, "to myself");
  EXPECT_EQ(self->poll()->bytes, "to myself");
  EXPECT_FALSE(self->poll().has_value());
}

}  // namespace

Communicator& test::world() {
  if (!the_world) the_world = make_world();
  return *the_world;
}

}  // namespace ptq
