// The tensor collectives of every backend, over a TensorChannel.
#include <ATen/ATen.h>

#include <bit>
#include <cstring>
#include <sstream>

#include "core/comm/communicator.h"
#include "core/comm/tensor_channel.h"
#include "core/error.h"

namespace ptq {
namespace {

// A tensor as one row of memory; put_back() after it was written.
class Row {
 public:
  explicit Row(const at::Tensor& tensor) : tensor_(tensor.detach()), row_(tensor_.contiguous().view({-1})) {}
  at::Tensor& operator*() { return row_; }
  void put_back() {
    if (!row_.is_alias_of(tensor_)) tensor_.copy_(row_.view(tensor_.sizes()));
  }

 private:
  at::Tensor tensor_, row_;
};

template <typename F>
void each_piece(const at::Tensor& row, size_t piece_bytes, F&& f) {
  const int64_t step = std::max<int64_t>(1, static_cast<int64_t>(piece_bytes / row.element_size()));
  for (int64_t at = 0; at < row.numel(); at += step) f(row.narrow(0, at, std::min(step, row.numel() - at)));
}

void check_can_be_summed(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kDouble:
    case at::kFloat:
    case at::kHalf:
    case at::kBFloat16:
    case at::kLong:
    case at::kInt:
    case at::kByte:
      return;
    default:
      PTQ_CHECK(false, "sums of this type of tensor are not carried");
  }
}

class TreeSum {
 public:
  TreeSum(TensorChannel& channel, int rank, int size, int64_t total, int owner, size_t piece_bytes)
      : channel_(channel),
        rank_(rank),
        size_(size),
        total_(total),
        owner_(owner),
        piece_bytes_(piece_bytes) {}

  void give(int64_t shard, at::Tensor row) {
    first_ = rows_.empty() ? shard : first_;
    rows_.push_back(std::move(row));
  }
  at::Tensor& row(int64_t shard) { return rows_.at(shard - first_); }
  int rank_of(int64_t shard) const { return static_cast<int>(((shard + 1) * size_ - 1) / total_); }

  // Adds up node [begin, end); returns the shard whose memory then holds the sum. Every rank walks the tree
  // in the same order and stops only where it takes part, so that no two ranks can wait for each other.
  int64_t sum(int64_t begin, int64_t end) {
    if (end - begin == 1) return begin;
    const int64_t middle =
        begin + static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(end - begin - 1)));
    int64_t home = sum(begin, middle), other = sum(middle, end);
    // a + b and b + a have the same bits: a sum gathers where it is wanted without changing the tree.
    if (rank_of(other) == owner_ && rank_of(home) != owner_) std::swap(home, other);
    add(home, other);
    return home;
  }

 private:
  void add(int64_t home, int64_t other) {
    const int to = rank_of(home), from = rank_of(other);
    if (to == rank_ && from == rank_) {
      row(home).add_(row(other));
    } else if (to == rank_) {
      each_piece(row(home), piece_bytes_, [&](at::Tensor piece) {
        if (!buffer_.defined()) buffer_ = at::empty_like(piece);  // the first piece is the longest
        at::Tensor arrived = buffer_.narrow(0, 0, piece.numel());
        channel_.receive(arrived, from);
        piece.add_(arrived);
      });
    } else if (from == rank_) {
      each_piece(row(other), piece_bytes_, [&](const at::Tensor& piece) { channel_.send(piece, to); });
    }
  }

  TensorChannel& channel_;
  int rank_, size_;
  int64_t total_;
  int owner_;
  size_t piece_bytes_;
  int64_t first_ = 0;
  std::vector<at::Tensor> rows_;
  at::Tensor buffer_;
};

std::string describe(const char* operation, const at::Tensor& tensor) {
  std::ostringstream out;
  out << operation << " of " << tensor.sizes() << ' ' << c10::toString(tensor.scalar_type());
  return out.str();
}

// Shape and type as bytes: dimensions, type, sizes.
std::string describe_layout(const at::Tensor& tensor) {
  std::vector<int64_t> numbers = {static_cast<int64_t>(tensor.scalar_type())};
  for (const int64_t n : tensor.sizes()) numbers.push_back(n);
  return {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(int64_t)};
}

at::Tensor make_with_layout(const std::string& layout, const at::Device& device) {
  std::vector<int64_t> numbers(layout.size() / sizeof(int64_t));
  std::memcpy(numbers.data(), layout.data(), layout.size());
  return at::empty(at::IntArrayRef(numbers).slice(1),
                   at::TensorOptions(static_cast<at::ScalarType>(numbers[0])).device(device));
}

}  // namespace

void Communicator::set_piece_bytes(size_t bytes) {
  PTQ_CHECK(bytes >= 16 && bytes <= size_t{1} << 30);
  piece_bytes_ = bytes;
}

std::pair<int64_t, int64_t> Communicator::shard_range(int64_t total) const {
  return {rank() * total / size(), (rank() + 1) * total / size()};
}

void Communicator::broadcast(at::Tensor& tensor, int root) {
  PTQ_CHECK(root >= 0 && root < size());
  TensorChannel& channel = tensor_channel(tensor);
  channel.begin(describe("broadcast", tensor));
  Row row(tensor);
  each_piece(*row, piece_bytes_, [&](at::Tensor piece) { channel.broadcast(piece, root); });
  channel.end();
  if (rank() != root) row.put_back();
}

std::vector<at::Tensor> Communicator::all_gather(const at::Tensor& tensor) {
  TensorChannel& channel = tensor_channel(tensor);
  const std::vector<std::string> layouts = all_gather(describe_layout(tensor));
  channel.begin("all_gather");
  std::vector<at::Tensor> gathered(size());
  for (int root = 0; root < size(); ++root) {
    // A copy for itself too: what a caller does to one result never shows in another.
    gathered[root] = root == rank() ? tensor.detach().clone(at::MemoryFormat::Contiguous)
                                    : make_with_layout(layouts[root], tensor.device());
    each_piece(gathered[root].view({-1}), piece_bytes_,
               [&](at::Tensor piece) { channel.broadcast(piece, root); });
  }
  channel.end();
  return gathered;
}

void Communicator::sum_shards(const std::vector<at::Tensor>& shards, int64_t total, at::Tensor& sum,
                              int owner) {
  const auto [first, last] = shard_range(total);
  PTQ_CHECK(total >= 1);
  PTQ_CHECK_EQ(static_cast<int64_t>(shards.size()), last - first);
  PTQ_CHECK(owner == everyone || (owner >= 0 && owner < size()));
  check_can_be_summed(sum);
  TensorChannel& channel = tensor_channel(sum);
  channel.begin(describe("sum", sum));

  TreeSum tree(channel, rank(), size(), total, owner, piece_bytes_);
  for (size_t i = 0; i < shards.size(); ++i) {
    PTQ_CHECK_EQ(shards[i].sizes(), sum.sizes());
    PTQ_CHECK_EQ(shards[i].scalar_type(), sum.scalar_type());
    tree.give(first + static_cast<int64_t>(i), *Row(shards[i]));
  }
  const int64_t home = tree.sum(0, total);
  const int holder = tree.rank_of(home);

  Row result(sum);
  if (holder == rank() && tree.row(home).data_ptr() != (*result).data_ptr()) (*result).copy_(tree.row(home));
  if (owner == everyone) {
    each_piece(*result, piece_bytes_, [&](at::Tensor piece) { channel.broadcast(piece, holder); });
  } else if (holder != owner && rank() == holder) {  // the owner gave no shard
    each_piece(*result, piece_bytes_, [&](const at::Tensor& piece) { channel.send(piece, owner); });
  } else if (holder != owner && rank() == owner) {
    each_piece(*result, piece_bytes_, [&](at::Tensor piece) { channel.receive(piece, holder); });
  }
  channel.end();
  if (owner == everyone || owner == rank()) result.put_back();
}

// One shard a rank. (A row of a tensor that is not contiguous is a copy: sum_shards gets one row and puts it
// back itself.)
void Communicator::all_reduce(at::Tensor& tensor) { sum_shards({tensor}, size(), tensor); }

void Communicator::reduce_to_owner(at::Tensor& tensor, int owner) {
  PTQ_CHECK(owner >= 0 && owner < size());
  sum_shards({tensor}, size(), tensor, owner);
}

}  // namespace ptq
