// The NCCL backend without a GPU (a recording fake of NCCL between threads), the search for the library, and,
// where there is a GPU, the contract on it.
#include "core/comm/nccl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/core/comm/contract.h"
#include "tests/core/comm/fake_nccl.h"

namespace ptq {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class NcclOfThreads : public ::testing::Test {
 protected:
  std::vector<std::string> run(int ranks, const std::function<void(Communicator&)>& f) {
    return test::run_ranks(ranks, &log_, [&](std::unique_ptr<Communicator> control) {
      const NcclOptions options = change_(fake_.options(control->rank()));
      f(*make_nccl_communicator(std::move(control), options));
    });
  }
  // Two sums: a rank that is through with an operation before another's failure reaches it learns of it at
  // the next one.
  std::vector<std::string> sum_twice(int ranks) {
    return run(ranks, [](Communicator& comm) {
      at::Tensor one = at::ones({1}, at::kFloat);
      comm.all_reduce(one);
      comm.all_reduce(one);
    });
  }
  void expect_aborted_everywhere(int ranks) {
    for (int rank = 0; rank < ranks; ++rank) {
      EXPECT_EQ(log_.count(rank, "nccl abort"), 1) << rank;
      EXPECT_EQ(log_.count(rank, "nccl destroy"), 0) << rank;
    }
  }

  test::CallLog log_;
  test::FakeNccl fake_{&log_};
  std::function<NcclOptions(NcclOptions)> change_ = [](NcclOptions options) { return options; };
};

class NcclContract : public NcclOfThreads, public ::testing::WithParamInterface<int> {};

TEST_P(NcclContract, Holds) {
  for (const test::Check& check : test::contract()) {
    SCOPED_TRACE(check.name);
    EXPECT_THAT(run(GetParam(), [&](Communicator& comm) { check.run(comm, at::kCPU); }), Each(""))
        << check.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, NcclContract, ::testing::Values(1, 2, 3, 4, 8));

TEST_F(NcclOfThreads, OnlyRankZeroMakesTheIdAndAllHaveItBeforeAnyConnects) {
  EXPECT_THAT(run(3,
                  [](Communicator& comm) {
                    at::Tensor three = at::ones({3}, at::kFloat);
                    comm.all_reduce(three);
                  }),
              Each(""));
  EXPECT_THAT(log_.of(0), ElementsAre("device 0", "get_unique_id", "all_gather", "split", "broadcast",
                                      "barrier", "nccl init 0 of 3", "nccl receive 12 from 1",
                                      "nccl receive 12 from 2", "nccl broadcast of 12", "nccl destroy"));
  EXPECT_THAT(log_.of(1),
              ElementsAre("device 1", "all_gather", "split", "broadcast", "barrier", "nccl init 1 of 3",
                          "nccl send 12 to 0", "nccl broadcast of 12", "nccl destroy"));
  EXPECT_THAT(log_.of(2),
              ElementsAre("device 2", "all_gather", "split", "broadcast", "barrier", "nccl init 2 of 3",
                          "nccl send 12 to 0", "nccl broadcast of 12", "nccl destroy"));
}

TEST_F(NcclOfThreads, AnErrorOnOneRankAbortsAllAndNamesRankAndOperation) {
  fake_.fails_in = "send";
  fake_.fails_on = 1;
  EXPECT_THAT(sum_twice(3), Each("rank 1: NCCL sum of [1] Float: system error (cable pulled)"));
  expect_aborted_everywhere(3);
}

TEST_F(NcclOfThreads, AStreamThatNeverEndsIsAbortedAtTheDeadline) {
  fake_.stuck_on = 2;
  EXPECT_THAT(sum_twice(4), Each("rank 2: NCCL sum of [1] Float: not done after 300 ms"));
  expect_aborted_everywhere(4);
}

TEST_F(NcclOfThreads, ARankThatCannotConnectIsAbortedAtTheDeadline) {
  fake_.never_answers_on = 1;
  EXPECT_THAT(sum_twice(2), Each("rank 1: NCCL initialization: not done after 300 ms"));
  expect_aborted_everywhere(2);
}

TEST_F(NcclOfThreads, AnAsynchronousErrorIsFound) {
  fake_.fails_in = "async";
  fake_.fails_on = 0;
  EXPECT_THAT(sum_twice(2), Each("rank 0: NCCL initialization: system error (cable pulled)"));
  expect_aborted_everywhere(2);
}

TEST_F(NcclOfThreads, AfterAnAbortEveryOperationSaysWhy) {
  fake_.stuck_on = 0;
  run(1, [](Communicator& comm) {
    at::Tensor one = at::ones({1}, at::kFloat);
    EXPECT_THROW(comm.all_reduce(one), UserError);
    try {
      comm.broadcast(one, 0);
      ADD_FAILURE() << "no error";
    } catch (const UserError& e) {
      EXPECT_THAT(e.what(), HasSubstr("aborted before: rank 0: NCCL sum of [1] Float: not done"));
    }
  });
}

TEST_F(NcclOfThreads, ALateRankIsNoError) {
  change_ = [](NcclOptions options) {
    options.deadline = std::chrono::seconds(1);
    return options;
  };
  EXPECT_THAT(run(2,
                  [](Communicator& comm) {
                    if (comm.rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(1500));
                    at::Tensor one = at::ones({1}, at::kFloat);
                    comm.all_reduce(one);
                    EXPECT_EQ(one.item<float>(), 2);
                  }),
              Each(""));
}

TEST_F(NcclOfThreads, DifferentOperationsAreAnErrorNotAHang) {
  EXPECT_THAT(run(2,
                  [](Communicator& comm) {
                    at::Tensor one = at::ones({1}, at::kFloat), two = at::ones({2}, at::kFloat);
                    comm.all_reduce(comm.rank() == 0 ? one : two);
                  }),
              Each("rank 0: NCCL sum of [1] Float: rank 1 called sum of [2] Float instead"));
}

TEST_F(NcclOfThreads, WhatOneRankLacksEveryRankIsTold) {
  fake_.library_problems[1] = "no NCCL here";
  EXPECT_THAT(sum_twice(3), Each("rank 1: no NCCL here"));

  fake_.library_problems.clear();
  change_ = [](NcclOptions options) {
    options.device.count = [] { return 2; };
    return options;
  };
  EXPECT_THAT(sum_twice(3),
              Each(HasSubstr(
                  "rank 2: needs a GPU for each rank: this is rank 2 (from 0) of its machine, which has 2")));

  fake_.fails_in = "get_unique_id";
  EXPECT_THAT(sum_twice(2), Each("rank 0: NCCL makes no unique id: system error"));
}

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const UserError& e) {
    return e.what();
  }
  return "";
}

TEST(NcclLibrary, ThatIsMissingIsNamedWithThePlacesLookedAt) {
  const std::string message = message_of([] { load_nccl({"/nowhere/libnccl.so.2", "libnccl-none.so"}); });
  EXPECT_THAT(message, HasSubstr("HARNESS_NCCL"));
  EXPECT_THAT(message, HasSubstr("/nowhere/libnccl.so.2: cannot open shared object file"));
  EXPECT_THAT(message, HasSubstr("libnccl-none.so: cannot open"));
}

TEST(NcclLibrary, ThatLacksAFunctionIsNamedWithIt) {
  EXPECT_THAT(message_of([] { load_nccl({"libm.so.6"}); }),
              HasSubstr("libm.so.6 has no function ncclGetVersion"));
}

TEST(NcclLibrary, IsTheOneTheEnvironmentNamesOrStandsBesideLibTorch) {
  const char* given = std::getenv("HARNESS_NCCL");
  const std::string before = given ? given : "";
  ::setenv("HARNESS_NCCL", "/my/libnccl.so.2", 1);
  EXPECT_THAT(nccl_candidates(), ElementsAre("/my/libnccl.so.2"));
  ::unsetenv("HARNESS_NCCL");
  EXPECT_THAT(nccl_candidates(), ::testing::Contains(::testing::EndsWith("/nvidia/nccl/lib/libnccl.so.2")));
  EXPECT_EQ(nccl_candidates().back(), "libnccl.so.2");
  if (given) ::setenv("HARNESS_NCCL", before.c_str(), 1);
}

// No GPU needed: the real library's functions are found and two of them answer.
TEST(NcclLibrary, TellsItsVersion) {
  NcclApi api;
  if (const std::string problem = message_of([&] { api = load_nccl(); }); !problem.empty())
    GTEST_SKIP() << problem;
  int code = 0;
  EXPECT_EQ(api.get_version(&code), nccl_success);
  EXPECT_GE(code, nccl_oldest);
  EXPECT_EQ(api.version().substr(0, 2), "2.");
  EXPECT_STREQ(api.get_error_string(nccl_success), "no error");
}

// mpirun -n <GPUs> core_test --gtest_filter='NcclOnGpus.*'
TEST(NcclOnGpus, KeepsTheContract) {
  Communicator& world = test::world();
  if (cuda_device().count() == 0) GTEST_SKIP() << "LibTorch sees no GPU here";
  if (const std::string problem = message_of([] { load_nccl(); }); !problem.empty()) GTEST_SKIP() << problem;
  const std::unique_ptr<Communicator> nccl = make_nccl_communicator(world.split(0, world.rank()));
  for (const test::Check& check : test::contract()) {
    SCOPED_TRACE(check.name);
    check.run(*nccl, at::Device(at::kCUDA, static_cast<at::DeviceIndex>(world.local_rank())));
  }
}

}  // namespace
}  // namespace ptq
