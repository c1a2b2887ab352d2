#include "tests/core/comm/contract.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <bit>
#include <chrono>
#include <numeric>
#include <thread>

#include "core/error.h"

namespace ptq::test {
namespace {

using namespace std::chrono_literals;

const at::ScalarType summable[] = {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16,
                                   at::kLong,   at::kInt,   at::kByte};

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() && at::equal(a.cpu(), b.cpu());
}

// Numbers whose sum depends on the order of addition, known to every rank: shard s of any tensor.
at::Tensor shard_of_numbers(int64_t s, int64_t count, const at::Device& device) {
  const at::Tensor n = at::arange(count, at::kDouble) + 37.0 * static_cast<double>(s);
  return ((n * 0.7311).sin() * (n * 1.37).cos().exp() * std::pow(10.0, s % 5)).to(at::kFloat).to(device);
}

at::Tensor tree(const std::vector<at::Tensor>& leaves, size_t begin, size_t end) {
  if (end - begin == 1) return leaves[begin].clone();
  const size_t middle = begin + std::bit_floor(end - begin - 1);
  return tree(leaves, begin, middle) + tree(leaves, middle, end);
}

at::Tensor expected_sum(int64_t shards, int64_t count, const at::Device& device) {
  std::vector<at::Tensor> leaves;
  for (int64_t s = 0; s < shards; ++s) leaves.push_back(shard_of_numbers(s, count, device));
  return tree(leaves, 0, leaves.size());
}

Message wait_for_message(Communicator& comm) {
  for (;;) {
    if (std::optional<Message> message = comm.poll()) return *message;
    std::this_thread::sleep_for(100us);
  }
}

void bytes(Communicator& comm, const at::Device&) {
  ASSERT_GE(comm.rank(), 0);
  ASSERT_LT(comm.rank(), comm.size());
  EXPECT_GE(comm.local_rank(), 0);
  for (int root = 0; root < comm.size(); ++root) {
    const std::string sent = std::string(3'000'000, static_cast<char>('a' + root)) + std::string("\0end", 4);
    std::string text = comm.rank() == root ? sent : "old";
    comm.broadcast(text, root);
    EXPECT_EQ(text, sent);
    text = comm.rank() == root ? "" : "old";
    comm.broadcast(text, root);
    EXPECT_EQ(text, "");
  }
  const std::vector<std::string> parts = comm.all_gather(std::string(comm.rank(), 'x'));
  ASSERT_EQ(static_cast<int>(parts.size()), comm.size());
  for (int rank = 0; rank < comm.size(); ++rank) EXPECT_EQ(parts[rank], std::string(rank, 'x'));
  comm.barrier();
}

// Round the ring, two each, in order; a message before a sum is still there after it, and its tensors are no
// messages.
void messages(Communicator& comm, const at::Device& device) {
  const int next = (comm.rank() + 1) % comm.size(), last = (comm.rank() + comm.size() - 1) % comm.size();
  comm.send(next, 5, "first");
  comm.send(next, 6, std::string(100'000, 'y'));
  at::Tensor one = at::ones({1000}, at::TensorOptions(at::kFloat).device(device));
  comm.all_reduce(one);
  EXPECT_EQ(one[999].item<float>(), comm.size());
  const Message first = wait_for_message(comm), second = wait_for_message(comm);
  EXPECT_EQ(first.source, last);
  EXPECT_EQ(first.tag, 5);
  EXPECT_EQ(first.bytes, "first");
  EXPECT_EQ(second.tag, 6);
  EXPECT_EQ(second.bytes.size(), 100'000u);
  comm.flush();
  comm.barrier();
  EXPECT_FALSE(comm.poll().has_value());
}

void broadcast(Communicator& comm, const at::Device& device) {
  for (int root = 0; root < comm.size(); ++root)
    for (const at::ScalarType type : summable)
      for (const std::vector<int64_t>& shape : std::vector<std::vector<int64_t>>{{}, {0}, {7}, {3, 5}}) {
        const at::Tensor sent = at::full(shape, root + 3, at::TensorOptions(type).device(device));
        at::Tensor tensor = comm.rank() == root ? sent.clone() : at::zeros_like(sent);
        comm.broadcast(tensor, root);
        EXPECT_TRUE(same_bits(tensor, sent));
      }
  const at::Tensor sent = at::arange(12, device).view({3, 4});
  at::Tensor across = at::zeros({4, 3}, sent.options()).t();
  if (comm.rank() == 0) across.copy_(sent);
  comm.broadcast(across, 0);
  EXPECT_TRUE(same_bits(across.contiguous(), sent)) << "not contiguous";
}

// Rank r gives r + 1: 1 + 2 + ... + n.
void sums_by_hand(Communicator& comm, const at::Device& device) {
  const int n = comm.size(), sum = n * (n + 1) / 2;
  for (const at::ScalarType type : summable) {
    const at::TensorOptions options = at::TensorOptions(type).device(device);
    at::Tensor all = at::full({2, 3}, comm.rank() + 1, options);
    comm.all_reduce(all);
    EXPECT_TRUE(same_bits(all, at::full({2, 3}, sum, options))) << type;
    for (int owner = 0; owner < n; ++owner) {
      at::Tensor mine = at::full({2, 3}, comm.rank() + 1, options);
      comm.reduce_to_owner(mine, owner);
      if (comm.rank() == owner) {
        EXPECT_TRUE(same_bits(mine, at::full({2, 3}, sum, options))) << type;
      }
    }
  }
  at::Tensor bytes = at::full({1}, 200, at::TensorOptions(at::kByte).device(device));
  comm.all_reduce(bytes);
  EXPECT_EQ(bytes.item<int>(), 200 * n % 256);
  at::Tensor nothing = at::zeros({0, 4}, device);
  comm.all_reduce(nothing);
  EXPECT_EQ(nothing.sizes(), at::IntArrayRef({0, 4}));
  at::Tensor square = at::arange(9, at::TensorOptions(at::kFloat).device(device)).view({3, 3});
  at::Tensor corner = square.narrow(1, 0, 2);
  comm.all_reduce(corner);
  EXPECT_EQ(square[1][0].item<float>(), 3.f * n) << "a tensor that is not contiguous is summed in place";
  EXPECT_EQ(square[1][2].item<float>(), 5) << "its neighbours are left alone";
  at::Tensor flags = at::ones({2}, at::TensorOptions(at::kBool).device(device));
  EXPECT_THROW(comm.all_reduce(flags), InternalError);
}

void check_sums(Communicator& comm, const at::Device& device, int64_t count) {
  const at::Tensor expected = expected_sum(comm.size(), count, device);
  at::Tensor all = shard_of_numbers(comm.rank(), count, device);
  comm.all_reduce(all);
  EXPECT_TRUE(same_bits(all, expected));
  for (int owner = 0; owner < comm.size(); ++owner) {
    at::Tensor mine = shard_of_numbers(comm.rank(), count, device);
    comm.reduce_to_owner(mine, owner);
    if (comm.rank() == owner) {
      EXPECT_TRUE(same_bits(mine, expected)) << "owner " << owner;
    }
  }
}

// In float32 1e8 + 1 is 1e8: (1e8 + 1) + -1e8 = 0, while (1e8 + -1e8) + 1 = 1.
void order_of_addition(Communicator& comm, const at::Device& device) {
  const float big[] = {1e8f, 1, -1e8f};
  at::Tensor number =
      at::full({1}, comm.rank() < 3 ? big[comm.rank()] : 0.f, at::TensorOptions(at::kFloat).device(device));
  comm.all_reduce(number);
  EXPECT_EQ(number.item<float>(), comm.size() == 1 || comm.size() == 2 ? 1e8f : 0.f);

  check_sums(comm, device, 5000);
}

// The same bits from any number of ranks: the expected sum knows nothing of them.
void check_shards(Communicator& comm, const at::Device& device, int64_t count) {
  for (const int64_t total : {1, 2, 5, 16}) {
    const at::Tensor expected = expected_sum(total, count, device);
    const auto [first, last] = comm.shard_range(total);
    for (int owner = Communicator::everyone; owner < comm.size(); ++owner) {
      std::vector<at::Tensor> mine;
      for (int64_t s = first; s < last; ++s) mine.push_back(shard_of_numbers(s, count, device));
      at::Tensor sum = at::zeros_like(expected);
      comm.sum_shards(mine, total, sum, owner);
      if (owner == Communicator::everyone || owner == comm.rank()) {
        EXPECT_TRUE(same_bits(sum, expected)) << total << " shards to " << owner;
      }
    }
  }
}

void shards(Communicator& comm, const at::Device& device) { check_shards(comm, device, 600); }

void all_gather(Communicator& comm, const at::Device& device) {
  const auto given = [&](int rank) {
    return at::full({rank, 2}, rank + 0.5,
                    at::TensorOptions(rank % 2 ? at::kFloat : at::kBFloat16).device(device));
  };
  const at::Tensor mine = given(comm.rank());
  const std::vector<at::Tensor> gathered = comm.all_gather(mine);
  ASSERT_EQ(static_cast<int>(gathered.size()), comm.size());
  for (int rank = 0; rank < comm.size(); ++rank) EXPECT_TRUE(same_bits(gathered[rank], given(rank))) << rank;
  EXPECT_EQ(comm.all_gather(at::tensor(7, device)).back().item<int>(), 7) << "a scalar";
}

void small_pieces(Communicator& comm, const at::Device& device) {
  for (const size_t bytes : {16, 20, 100}) {  // 37 floats: 10, 8 and 2 pieces, the last one shorter
    comm.set_piece_bytes(bytes);
    check_sums(comm, device, 37);
    check_shards(comm, device, 37);
    all_gather(comm, device);
    at::Tensor numbers = at::arange(37, at::TensorOptions(at::kLong).device(device)) * (comm.rank() + 1);
    comm.broadcast(numbers, comm.size() - 1);
    EXPECT_EQ(numbers[36].item<int>(), 36 * comm.size());
  }
  comm.set_piece_bytes(size_t{1} << 20);
  EXPECT_THROW(comm.set_piece_bytes((size_t{1} << 30) + 1), InternalError);
}

void split(Communicator& comm, const at::Device& device) {
  const int parity = comm.rank() % 2, members = (comm.size() + 1 - parity) / 2;
  const std::unique_ptr<Communicator> half = comm.split(parity, -comm.rank());  // in the opposite order
  ASSERT_TRUE(half);
  EXPECT_EQ(half->size(), members);
  EXPECT_EQ(half->rank(), members - 1 - comm.rank() / 2);
  EXPECT_EQ(half->local_rank(), comm.local_rank());
  at::Tensor tensor = at::full({3}, comm.rank(), at::TensorOptions(at::kLong).device(device));
  half->all_reduce(tensor);
  EXPECT_EQ(tensor[0].item<int>(), members * (members - 1) + parity * members);
  EXPECT_EQ(half->all_gather(std::to_string(comm.rank())).back(), std::to_string(parity));

  const std::unique_ptr<Communicator> first = half->split(half->rank() == 0 ? 0 : -1, 0);
  EXPECT_EQ(first != nullptr, half->rank() == 0);
  if (first) {
    EXPECT_EQ(first->size(), 1);
  }
  comm.barrier();
}

// The way of a run: one thread minds the messages, another sums gradients over a group.
void two_threads(Communicator& comm, const at::Device& device) {
  const std::unique_ptr<Communicator> group = comm.split(0, comm.rank());
  std::thread worker([&] {
    for (int i = 0; i < 20; ++i) {
      at::Tensor ones = at::ones({20'000}, at::TensorOptions(at::kFloat).device(device));
      group->all_reduce(ones);
      EXPECT_EQ(ones[19'999].item<float>(), comm.size());
    }
  });
  for (int i = 0; i < 20; ++i) {
    comm.send((comm.rank() + 1) % comm.size(), i, "m");
    EXPECT_EQ(wait_for_message(comm).tag, i);
  }
  worker.join();
  comm.flush();
  comm.barrier();
}

// The last rank is half a second late, three times; the others must not have used the cores meanwhile.
void waiting_costs_nothing(Communicator& comm, const at::Device& device) {
  if (comm.size() == 1) return;
  const bool late = comm.rank() == comm.size() - 1;
  at::Tensor tensor = at::ones({1000}, at::TensorOptions(at::kFloat).device(device));
  std::string text = "late";
  const std::function<void()> operations[] = {[&] { comm.barrier(); }, [&] { comm.all_reduce(tensor); },
                                              [&] { comm.broadcast(text, comm.size() - 1); }};
  for (const auto& operation : operations) {
    comm.barrier();
    rusage before{}, after{};
    ::getrusage(RUSAGE_THREAD, &before);
    if (late) std::this_thread::sleep_for(500ms);
    operation();
    ::getrusage(RUSAGE_THREAD, &after);
    const auto seconds = [](const timeval& t) { return t.tv_sec + 1e-6 * t.tv_usec; };
    const double used = seconds(after.ru_utime) + seconds(after.ru_stime) - seconds(before.ru_utime) -
                        seconds(before.ru_stime);
    if (!late) {
      EXPECT_LT(used, 0.1) << "of half a second";
    }
  }
}

}  // namespace

const std::vector<Check>& contract() {
  static const std::vector<Check> checks = {
      {"bytes", bytes},
      {"messages", messages},
      {"broadcast", broadcast},
      {"sums_by_hand", sums_by_hand},
      {"order_of_addition", order_of_addition},
      {"shards", shards},
      {"all_gather", all_gather},
      {"small_pieces", small_pieces},
      {"split", split},
      {"two_threads", two_threads},
      {"waiting_costs_nothing", waiting_costs_nothing},
  };
  return checks;
}

}  // namespace ptq::test
