#include "algorithms/team.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/comm/tensor_channel.h"
#include "core/error.h"

namespace ptq {
namespace {

// Tensors as one run of bytes: count, then for each dtype, dims, sizes and elements.
at::Tensor pack(const std::vector<at::Tensor>& tensors) {
  std::string head;
  const auto put = [&](int64_t value) { head.append(reinterpret_cast<const char*>(&value), sizeof value); };
  put(static_cast<int64_t>(tensors.size()));
  size_t bytes = 0;
  std::vector<at::Tensor> parts;
  for (const at::Tensor& tensor : tensors) {
    parts.push_back(tensor.contiguous());
    put(static_cast<int64_t>(tensor.scalar_type()));
    put(tensor.dim());
    for (const int64_t size : tensor.sizes()) put(size);
    bytes += tensor.nbytes();
  }
  at::Tensor packed = at::empty({static_cast<int64_t>(head.size() + bytes)}, at::kByte);
  auto* to = packed.mutable_data_ptr<uint8_t>();
  std::memcpy(to, head.data(), head.size());
  to += head.size();
  for (const at::Tensor& part : parts) {
    if (part.nbytes() > 0) std::memcpy(to, part.const_data_ptr(), part.nbytes());
    to += part.nbytes();
  }
  return packed;
}

std::vector<at::Tensor> unpack(const at::Tensor& packed) {
  const auto* from = packed.const_data_ptr<uint8_t>();
  const auto* const end = from + packed.numel();
  const auto get = [&] {
    PTQ_CHECK(end - from >= static_cast<int64_t>(sizeof(int64_t)), "a message of tensors is cut off");
    int64_t value = 0;
    std::memcpy(&value, from, sizeof value);
    from += sizeof value;
    return value;
  };
  std::vector<at::Tensor> tensors(static_cast<size_t>(get()));
  for (at::Tensor& tensor : tensors) {
    const auto dtype = static_cast<at::ScalarType>(get());
    std::vector<int64_t> sizes(static_cast<size_t>(get()));
    for (int64_t& size : sizes) size = get();
    tensor = at::empty(sizes, dtype);
  }
  for (at::Tensor& tensor : tensors) {
    PTQ_CHECK(end - from >= static_cast<int64_t>(tensor.nbytes()), "a message of tensors is cut off");
    if (tensor.nbytes() > 0) std::memcpy(tensor.mutable_data_ptr(), from, tensor.nbytes());
    from += tensor.nbytes();
  }
  return tensors;
}

constexpr int64_t piece_bytes = int64_t{64} << 20;

// One member's bytes to another; `channel` is open. Called by both.
void transfer(TensorChannel& channel, at::Tensor& packed, bool sends, int peer) {
  at::Tensor size = at::empty({1}, at::kLong);
  if (sends) {
    size.fill_(packed.numel());
    channel.send(size, peer);
  } else {
    channel.receive(size, peer);
    packed = at::empty({size.item<int64_t>()}, at::kByte);
  }
  for (int64_t at = 0; at < packed.numel(); at += piece_bytes) {
    at::Tensor piece = packed.narrow(0, at, std::min(piece_bytes, packed.numel() - at));
    if (sends) channel.send(piece, peer);
    else channel.receive(piece, peer);
  }
}

// The owner's tensors become everybody's.
void broadcast_tensors(Communicator& comm, std::vector<at::Tensor>& tensors, int owner) {
  const bool sends = comm.rank() == owner;
  at::Tensor packed = sends ? pack(tensors) : at::Tensor();
  at::Tensor size = at::scalar_tensor(sends ? packed.numel() : 0, at::kLong);
  comm.broadcast(size, owner);
  if (!sends) packed = at::empty({size.item<int64_t>()}, at::kByte);
  comm.broadcast(packed, owner);
  if (!sends) tensors = unpack(packed);
}

// Nodes as tensors: level, index and the number of sums of each, then its sums and maxima.
std::vector<at::Tensor> to_tensors(const std::vector<ShardNode>& nodes) {
  std::vector<at::Tensor> tensors;
  for (const ShardNode& node : nodes) {
    const std::vector<int64_t> about = {node.level, node.index, static_cast<int64_t>(node.value.sums.size()),
                                        static_cast<int64_t>(node.value.maxima.size())};
    tensors.push_back(at::tensor(about, at::kLong));
    tensors.insert(tensors.end(), node.value.sums.begin(), node.value.sums.end());
    tensors.insert(tensors.end(), node.value.maxima.begin(), node.value.maxima.end());
  }
  return tensors;
}

void add_nodes(ShardTree& tree, const std::vector<at::Tensor>& tensors) {
  for (auto next = tensors.begin(); next != tensors.end();) {
    const auto* about = next++->const_data_ptr<int64_t>();
    ShardNode node{static_cast<int>(about[0]), about[1], {}};
    for (int64_t i = 0; i < about[2]; ++i) node.value.sums.push_back(*next++);
    for (int64_t i = 0; i < about[3]; ++i) node.value.maxima.push_back(*next++);
    tree.add(std::move(node));
  }
}

}  // namespace

Partial Team::sum(ShardTree tree, int owner) const {
  if (size() == 1) return tree.finish();
  check_all_well();
  // Nodes are few and large: each member sends its own straight to who needs the sum. Rank order is shard
  // order.
  const int root = owner == everyone ? 0 : owner;
  const std::vector<at::Tensor> mine = to_tensors(tree.take_nodes());
  ShardTree whole;
  TensorChannel& channel = comm_->tensor_channel(at::empty({0}, at::kByte));
  channel.begin("sum");
  for (int member = 0; member < size(); ++member) {
    at::Tensor packed;
    if (member == root) {
      if (rank() == root) add_nodes(whole, mine);
    } else if (rank() == root) {
      transfer(channel, packed, false, member);
      add_nodes(whole, unpack(packed));
    } else if (rank() == member) {
      packed = pack(mine);
      transfer(channel, packed, true, root);
    }
  }
  channel.end();
  Partial total;
  if (rank() == root) total = whole.finish();
  if (owner != everyone) return total;
  std::vector<at::Tensor> tensors;
  if (rank() == root) tensors = to_tensors({ShardNode{0, 0, std::move(total)}});
  broadcast_tensors(*comm_, tensors, root);
  ShardTree result;
  add_nodes(result, tensors);
  return result.finish();
}

void Team::broadcast(std::vector<at::Tensor>& tensors, int owner) const {
  if (size() == 1) return;
  check_all_well();
  broadcast_tensors(*comm_, tensors, owner);
}

std::vector<std::vector<at::Tensor>> Team::all_gather(const std::vector<at::Tensor>& tensors) const {
  if (size() == 1) return {tensors};
  check_all_well();
  std::vector<std::vector<at::Tensor>> result;
  for (const at::Tensor& packed : comm_->all_gather(pack(tensors))) result.push_back(unpack(packed));
  return result;
}

std::string Team::conclude(const std::string& error) const {
  if (size() == 1) return error;
  at::Tensor ill = at::scalar_tensor(error.empty() ? 0 : 1, at::kLong);
  comm_->all_reduce(ill);
  if (ill.item<int64_t>() == 0) return "";
  for (const std::string& message : comm_->all_gather(error))
    if (!message.empty()) return message;
  return "";
}

void Team::check_all_well() const {
  if (const std::string error = conclude(""); !error.empty()) throw TeamFailure(error);
}

std::vector<int> spread(const std::vector<double>& costs, int members) {
  std::vector<size_t> order(costs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return costs[a] > costs[b]; });
  std::vector<double> load(static_cast<size_t>(members), 0.0);
  std::vector<int> member(costs.size(), 0);
  for (const size_t i : order) {
    const auto least = std::min_element(load.begin(), load.end());
    *least += costs[i];
    member[i] = static_cast<int>(least - load.begin());
  }
  return member;
}

}  // namespace ptq
