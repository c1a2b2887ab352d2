#include "algorithms/team.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "core/comm/tensor_channel.h"
#include "core/error.h"

namespace ptq {
namespace {

// Tensors as bytes, those on the CPU apart from those on a GPU, which travel another way.
struct Packed {
  at::Tensor host;  // type of the others' device (-1: none), bytes there, count; for each tensor whether it
                    // is on the CPU, dtype, dims, sizes; then the elements of those on the CPU
  at::Tensor device;  // elements of the others, each from a multiple of `alignment`; undefined: none
};

constexpr int64_t alignment = 16;  // of any element
int64_t aligned(int64_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

// This thread's device of a type.
at::Tensor bytes_on(c10::DeviceType type, int64_t bytes) {
  return at::empty({bytes},
                   at::TensorOptions(at::kByte).device(c10::impl::VirtualGuardImpl(type).getDevice()));
}

// Where a member's tensors are that are not on the CPU; -1: none.
int64_t device_type_of(const std::vector<at::Tensor>& tensors) {
  int64_t type = -1;
  for (const at::Tensor& tensor : tensors) {
    if (tensor.is_cpu()) continue;
    const auto here = static_cast<int64_t>(tensor.device().type());
    PTQ_CHECK(type == -1 || type == here, "tensors on devices of two kinds");
    type = here;
  }
  return type;
}

Packed pack(const std::vector<at::Tensor>& tensors) {
  std::string head;
  const auto put = [&](int64_t value) { head.append(reinterpret_cast<const char*>(&value), sizeof value); };
  const int64_t device_type = device_type_of(tensors);
  size_t bytes = 0;
  int64_t device_bytes = 0;
  for (const at::Tensor& tensor : tensors) {
    if (tensor.is_cpu()) bytes += tensor.nbytes();
    else device_bytes += aligned(static_cast<int64_t>(tensor.nbytes()));
  }
  put(device_type);
  put(device_bytes);
  put(static_cast<int64_t>(tensors.size()));
  std::vector<at::Tensor> parts;
  for (const at::Tensor& tensor : tensors) {
    parts.push_back(tensor.contiguous());
    put(tensor.is_cpu());
    put(static_cast<int64_t>(tensor.scalar_type()));
    put(tensor.dim());
    for (const int64_t size : tensor.sizes()) put(size);
  }
  Packed packed;
  packed.host = at::empty({static_cast<int64_t>(head.size() + bytes)}, at::kByte);
  if (device_type >= 0) packed.device = bytes_on(static_cast<c10::DeviceType>(device_type), device_bytes);
  auto* to = packed.host.mutable_data_ptr<uint8_t>();
  std::memcpy(to, head.data(), head.size());
  to += head.size();
  int64_t device_to = 0;
  for (const at::Tensor& part : parts) {
    const auto count = static_cast<int64_t>(part.nbytes());
    if (!part.is_cpu()) {
      if (count > 0) packed.device.narrow(0, device_to, count).copy_(part.view({-1}).view(at::kByte));
      device_to += aligned(count);
    } else {
      if (count > 0) std::memcpy(to, part.const_data_ptr(), part.nbytes());
      to += count;
    }
  }
  return packed;
}

class Reader {
 public:
  explicit Reader(const at::Tensor& host)
      : from_(host.const_data_ptr<uint8_t>()), end_(from_ + host.numel()) {}
  int64_t number() {
    int64_t value = 0;
    std::memcpy(&value, bytes(sizeof value), sizeof value);
    return value;
  }
  const uint8_t* bytes(size_t count) {
    PTQ_CHECK(end_ - from_ >= static_cast<int64_t>(count), "a message of tensors is cut off");
    return std::exchange(from_, from_ + count);
  }

 private:
  const uint8_t *from_, *end_;
};

// After the host part has arrived: room for what is on the sender's device. Undefined: nothing.
at::Tensor room_on_device(const at::Tensor& host) {
  Reader reader(host);
  const int64_t type = reader.number(), bytes = reader.number();
  return type < 0 ? at::Tensor() : bytes_on(static_cast<c10::DeviceType>(type), bytes);
}

std::vector<at::Tensor> unpack(const Packed& packed) {
  Reader reader(packed.host);
  reader.number();
  reader.number();
  std::vector<at::Tensor> tensors(static_cast<size_t>(reader.number()));
  int64_t device_from = 0;
  for (at::Tensor& tensor : tensors) {
    const bool on_host = reader.number() != 0;
    const auto dtype = static_cast<at::ScalarType>(reader.number());
    std::vector<int64_t> sizes(static_cast<size_t>(reader.number()));
    for (int64_t& size : sizes) size = reader.number();
    if (on_host) {
      tensor = at::empty(sizes, dtype);
      continue;
    }
    const int64_t bytes = c10::multiply_integers(sizes) * static_cast<int64_t>(c10::elementSize(dtype));
    tensor = packed.device.narrow(0, device_from, bytes).view(dtype).view(sizes);
    device_from += aligned(bytes);
  }
  for (at::Tensor& tensor : tensors)
    if (tensor.is_cpu() && tensor.nbytes() > 0)
      std::memcpy(tensor.mutable_data_ptr(), reader.bytes(tensor.nbytes()), tensor.nbytes());
  return tensors;
}

constexpr int64_t piece_bytes = int64_t{64} << 20;

// Bytes of one member to another, whose number both know; `channel` is open. Called by both.
void transfer(TensorChannel& channel, const at::Tensor& bytes, bool sends, int peer) {
  for (int64_t at = 0; at < bytes.numel(); at += piece_bytes) {
    at::Tensor piece = bytes.narrow(0, at, std::min(piece_bytes, bytes.numel() - at));
    if (sends) channel.send(piece, peer);
    else channel.receive(piece, peer);
  }
}

// The host parts, of unknown length.
void transfer_host(TensorChannel& channel, at::Tensor& host, bool sends, int peer) {
  at::Tensor size = at::empty({1}, at::kLong);
  if (sends) {
    size.fill_(host.numel());
    channel.send(size, peer);
  } else {
    channel.receive(size, peer);
    host = at::empty({size.item<int64_t>()}, at::kByte);
  }
  transfer(channel, host, sends, peer);
}

// The owner's tensors become everybody's.
void broadcast_tensors(Communicator& comm, std::vector<at::Tensor>& tensors, int owner) {
  const bool sends = comm.rank() == owner;
  Packed packed = sends ? pack(tensors) : Packed();
  at::Tensor size = at::scalar_tensor(sends ? packed.host.numel() : 0, at::kLong);
  comm.broadcast(size, owner);
  if (!sends) packed.host = at::empty({size.item<int64_t>()}, at::kByte);
  comm.broadcast(packed.host, owner);
  if (!sends) packed.device = room_on_device(packed.host);
  if (packed.device.defined()) comm.broadcast(packed.device, owner);
  if (!sends) tensors = unpack(packed);
}

// Before members exchange anything they agree on how things stand. Returns how many of them are not well, and
// sets where tensors are that are not on any CPU (-1: nowhere).
int64_t agree(Communicator& comm, bool ill, int64_t& device_type) {
  at::Tensor standing =
      at::tensor({int64_t{ill}, int64_t{device_type >= 0}, std::max<int64_t>(device_type, 0)}, at::kLong);
  comm.all_reduce(standing);
  const auto* all = standing.const_data_ptr<int64_t>();
  device_type = all[1] > 0 ? all[2] / all[1] : -1;
  return all[0];
}

std::string first_error(Communicator& comm, const std::string& error) {
  for (const std::string& message : comm.all_gather(error))
    if (!message.empty()) return message;
  return "";
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
  // Nodes are few and large: each member sends its own straight to who needs the sum. Rank order is shard
  // order.
  const int root = owner == everyone ? 0 : owner;
  const std::vector<at::Tensor> mine = to_tensors(tree.take_nodes());
  int64_t device_type = device_type_of(mine);
  if (agree(*comm_, false, device_type) > 0) throw TeamFailure(first_error(*comm_, ""));
  const bool is_root = rank() == root;
  ShardTree whole;
  TensorChannel& hosts = comm_->tensor_channel(at::empty({0}, at::kByte));
  TensorChannel* devices = nullptr;
  hosts.begin("sum");
  if (device_type >= 0) {
    devices = &comm_->tensor_channel(bytes_on(static_cast<c10::DeviceType>(device_type), 0));
    devices->begin("sum");
  }
  for (int member = 0; member < size(); ++member) {
    if (member == root) {
      if (is_root) add_nodes(whole, mine);
    } else if (is_root || rank() == member) {
      Packed packed = is_root ? Packed() : pack(mine);
      const int peer = is_root ? member : root;
      transfer_host(hosts, packed.host, !is_root, peer);
      if (is_root) packed.device = room_on_device(packed.host);
      if (packed.device.defined()) transfer(*devices, packed.device, !is_root, peer);
      if (is_root) add_nodes(whole, unpack(packed));
    }
  }
  hosts.end();
  if (devices) devices->end();
  Partial total;
  if (is_root) total = whole.finish();
  if (owner != everyone) return total;
  std::vector<at::Tensor> tensors;
  if (is_root) tensors = to_tensors({ShardNode{0, 0, std::move(total)}});
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
  const Packed mine = pack(tensors);
  std::vector<Packed> all;
  int64_t type = -1;
  for (at::Tensor& host : comm_->all_gather(mine.host)) {
    type = std::max(type, Reader(host).number());
    all.push_back({std::move(host), {}});
  }
  if (type >= 0) {
    const at::Tensor here =
        mine.device.defined() ? mine.device : bytes_on(static_cast<c10::DeviceType>(type), 0);
    std::vector<at::Tensor> parts = comm_->all_gather(here);
    for (size_t member = 0; member < all.size(); ++member) all[member].device = std::move(parts[member]);
  }
  std::vector<std::vector<at::Tensor>> result;
  for (const Packed& packed : all) result.push_back(unpack(packed));
  return result;
}

std::string Team::conclude(const std::string& error) const {
  if (size() == 1) return error;
  int64_t none = -1;
  return agree(*comm_, !error.empty(), none) > 0 ? first_error(*comm_, error) : "";
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

std::vector<PieceTensors> share_pieces(
    const Team& team, const std::vector<double>& costs,
    const std::function<std::vector<PieceTensors>(const std::vector<size_t>& mine)>& work) {
  const std::vector<int> member = spread(costs, team.size());
  std::vector<size_t> mine;
  for (size_t i = 0; i < costs.size(); ++i)
    if (member[i] == team.rank()) mine.push_back(i);
  std::vector<at::Tensor> sent;  // of each piece: how many tensors, and they
  for (PieceTensors& tensors : work(mine)) {
    sent.push_back(at::scalar_tensor(static_cast<int64_t>(tensors.size()), at::kLong));
    std::move(tensors.begin(), tensors.end(), std::back_inserter(sent));
  }
  const std::vector<std::vector<at::Tensor>> all = team.all_gather(sent);
  std::vector<size_t> next(all.size(), 0);
  std::vector<PieceTensors> result(costs.size());
  for (size_t i = 0; i < costs.size(); ++i) {
    const auto from = static_cast<size_t>(member[i]);
    const auto take = [&] { return all[from].at(next[from]++); };
    for (auto left = take().item<int64_t>(); left > 0; --left) result[i].push_back(take());
  }
  return result;
}

}  // namespace ptq
