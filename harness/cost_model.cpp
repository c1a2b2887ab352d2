// What work costs on a machine; counts of forward passes and of scoring. Counts of quantization:
// quantize_cost.cpp.
#include "harness/cost_model.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "algorithms/shards.h"
#include "core/error.h"
#include "evaluators/decoding.h"
#include "models/config_reader.h"
#include "models/linear_tiles.h"

namespace ptq {
namespace {

double count(int64_t value) { return static_cast<double>(value); }

constexpr double cache_bytes = 16 << 20;  // of a last-level cache

// Pairs of query and key in the tiles that attention does not skip (models/attention_tiles.cpp: 64 queries,
// 128 keys).
double attended_pairs(int64_t tokens, int64_t window) {
  constexpr int64_t queries = 64, keys = 128;
  double pairs = 0;
  for (int64_t begin = 0; begin < tokens; begin += queries) {
    const int64_t end = std::min(tokens, begin + queries);
    const int64_t first = window > 0 ? std::max<int64_t>(0, begin - window + 1) / keys * keys : 0;
    const int64_t last = std::min(tokens, (end + keys - 1) / keys * keys);
    pairs += count(end - begin) * count(last - first);
  }
  return pairs;
}

int64_t usual_window(const ModelConfig& c) { return c.sliding_window.empty() ? 0 : c.sliding_window.back(); }

double steps_of_tree(int ranks) { return std::ceil(std::log2(static_cast<double>(std::max(1, ranks)))); }

double program_bytes() { return 250e6; }  // code, LibTorch, tokenizer, buffers

}  // namespace

Work& Work::add(Kernel kernel, double more_units, double more_calls) {
  units[static_cast<size_t>(kernel)] += more_units;
  calls[static_cast<size_t>(kernel)] += more_calls;
  return *this;
}

Work& Work::operator+=(const Work& other) {
  for (size_t k = 0; k < kernel_count; ++k) {
    units[k] += other.units[k];
    calls[k] += other.calls[k];
  }
  return *this;
}

Work Work::times(double factor) const {
  Work result = *this;
  for (size_t k = 0; k < kernel_count; ++k) {
    result.units[k] *= factor;
    result.calls[k] *= factor;
  }
  return result;
}

double seconds(const Work& work, const MachineProfile& machine) {
  double sum = 0;
  for (size_t k = 0; k < kernel_count; ++k)
    sum += work.units[k] / machine.kernels[k].per_second + work.calls[k] * machine.kernels[k].call_s;
  return sum;
}

double ModelShape::block_weights() const {
  const ModelConfig& c = config;
  return count(c.hidden_size * c.head_dim * (2 * c.heads + 2 * c.kv_heads)) +
         3 * count(c.hidden_size) * count(c.intermediate_size);
}

double ModelShape::parameters() const {
  return count(config.layers) * block_weights() +
         count(config.vocab_size) * count(config.hidden_size) * (config.tied_embeddings ? 1 : 2);
}

ModelShape read_model_shape(const std::string& dir) {
  ModelShape shape{.config = read_model_config(dir)};
  const std::string path = dir + "/config.json";
  const Json object = read_checkpoint_json(path, 16 << 20);
  const ConfigReader json(object, path);
  if (json.text_or("torch_dtype", json.text_or("dtype", "bfloat16")) == "float32") shape.stored_bytes = 4;
  return shape;
}

std::vector<BatchShape> batch_shapes(const std::vector<Request>& requests, const std::vector<Batch>& batches,
                                     const std::optional<Generation>& generation) {
  std::vector<BatchShape> shapes;
  for (const Batch& batch : batches) {
    BatchShape shape{.tokens = batch.tokens};
    int64_t decoded = 0;
    for (const int64_t index : batch.requests) {
      const Request& request = requests.at(static_cast<size_t>(index));
      const auto ids = static_cast<int64_t>(request.ids.size());
      shape.longest = std::max(shape.longest, ids - (request.feed_all ? 0 : 1));
      shape.scored += ids - request.from;
      const int64_t steps = generation ? generation->most_tokens : request.decode;
      shape.steps = std::max(shape.steps, steps);
      decoded += steps;
    }
    const auto requests_in_batch = static_cast<int64_t>(batch.requests.size());
    shape.running = std::clamp(requests_in_batch, least_tile_rows, most_sequences);
    shape.steps = std::max(shape.steps, (decoded + shape.running - 1) / shape.running);
    if (generation) shape.tokens -= generation->most_tokens * requests_in_batch;
    shape.scored = std::min(shape.scored, shape.tokens);  // choices of one token share theirs
    shapes.push_back(shape);
  }
  return shapes;
}

Work product_work(int64_t rows, int64_t inputs, int64_t outputs, bool bfloat16) {
  const double weights = count(inputs) * count(outputs);
  Work work;
  if (rows < least_tile_rows) {
    const double bytes = weights * (bfloat16 ? 2 : 4);
    if (bytes > cache_bytes) work.add(Kernel::stream, bytes, 0);
    return work.add(bfloat16 ? Kernel::skinny_bfloat16 : Kernel::skinny_float32, weights);
  }
  return work.add(bfloat16 ? Kernel::product_bfloat16 : Kernel::product_float32, 2 * count(rows) * weights)
      .add(bfloat16 ? Kernel::pack_bfloat16 : Kernel::pack_float32, weights, 0);
}

Work attention_work(const ModelConfig& c, int64_t rows, int64_t tokens, bool bfloat16) {
  const int64_t all = rows * tokens, D = c.hidden_size, q = c.heads * c.head_dim,
                kv = c.kv_heads * c.head_dim;
  Work work;
  work += product_work(all, D, q, bfloat16);
  work += product_work(all, D, kv, bfloat16).times(2);
  work += product_work(all, q, D, bfloat16);
  work.add(bfloat16 ? Kernel::attention_bfloat16 : Kernel::attention_float32,
           4 * count(rows) * attended_pairs(tokens, usual_window(c)) * count(q));
  return work.add(bfloat16 ? Kernel::elements_bfloat16 : Kernel::elements_float32, count(all * D));
}

Work mlp_work(const ModelConfig& c, int64_t rows, int64_t tokens, bool bfloat16) {
  const int64_t all = rows * tokens, D = c.hidden_size, F = c.intermediate_size;
  Work work;
  work += product_work(all, D, F, bfloat16).times(2);
  work += product_work(all, F, D, bfloat16);
  // Activations cost more an element than norms and sums.
  return work.add(bfloat16 ? Kernel::elements_bfloat16 : Kernel::elements_float32,
                  2 * count(all * D) + 1.6 * count(all * F));
}

Work block_work(const ModelConfig& c, int64_t rows, int64_t tokens, bool bfloat16) {
  Work work = attention_work(c, rows, tokens, bfloat16);
  return work += mlp_work(c, rows, tokens, bfloat16);
}

UnitWork score_work(const ModelShape& model, bool bfloat16, bool quantized, bool block_by_block,
                    const std::vector<BatchShape>& batches, size_t begin, size_t end) {
  const ModelConfig& c = model.config;
  const double head_weights = count(c.vocab_size) * count(c.hidden_size), bytes = bfloat16 ? 2 : 4;
  const double blocks = model.block_weights() * count(c.layers);
  Work forward, head;
  double widest = 0;
  for (size_t b = begin; b < end; ++b) {
    const BatchShape& batch = batches.at(b);
    Work block = block_work(c, 1, batch.tokens, bfloat16);
    // Tokens attend in their own sequences.
    const Kernel attention = bfloat16 ? Kernel::attention_bfloat16 : Kernel::attention_float32;
    block.units[static_cast<size_t>(attention)] = 4 * count(batch.tokens) / count(batch.longest) *
                                                  attended_pairs(batch.longest, usual_window(c)) *
                                                  count(c.heads * c.head_dim);
    forward += block.times(count(c.layers));
    widest = std::max(widest, count(batch.tokens));
    for (int64_t at = 0; at < batch.scored; at += 256)
      head += product_work(std::min<int64_t>(256, batch.scored - at), c.hidden_size, c.vocab_size, bfloat16);
    head.add(Kernel::log_softmax, count(batch.scored) * count(c.vocab_size));
    // (What a step attends to is not counted.)
    forward += block_work(c, batch.running, 1, bfloat16).times(count(c.layers * batch.steps));
    head += product_work(batch.running, c.hidden_size, c.vocab_size, bfloat16).times(count(batch.steps));
  }
  UnitWork unit;
  unit.stages.push_back({.what = "forward", .work = forward, .pieces = 1});
  unit.stages.push_back({.what = "head", .work = head, .pieces = 1});
  const bool converted = bytes != model.stored_bytes;
  if (quantized) unit.load.add(Kernel::dequantize, blocks, 7 * count(c.layers)).add(Kernel::file, blocks / 2);
  else if (converted) unit.load.add(Kernel::load, blocks, 7 * count(c.layers));
  if (converted) unit.load.add(Kernel::load, head_weights);
  Memory& memory = unit.memory;
  memory.program = program_bytes();
  memory.model = (quantized || converted ? blocks * bytes : 0) + (quantized ? blocks : 0) +
                 (converted ? head_weights * bytes : 0);
  memory.activations = bytes * widest * (4 * count(c.hidden_size) + 2 * count(c.intermediate_size)) +
                       bytes * 256 * count(c.vocab_size);
  if (block_by_block) {
    memory.model /= count(c.layers);
    unit.stages.push_back({.what = "load", .work = unit.load, .pieces = 1});
    unit.load = {};
  }
  return unit;
}

double busiest_share(const Stage& stage, int ranks) {
  if (stage.sequences > 0) {
    int64_t most = 0, all = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      const Share share = Share::of(stage.sequences, rank, ranks).only_first(stage.first);
      most = std::max(most, share.last - share.first);
      all += share.last - share.first;
    }
    return count(most) / count(std::max<int64_t>(1, all));
  }
  if (stage.pieces <= 1) return 1;
  return count((stage.pieces + ranks - 1) / ranks) / count(stage.pieces);
}

double compute_seconds(const UnitWork& unit, const MachineProfile& machine, const TeamShape& team) {
  double sum = 0;
  for (const Stage& stage : unit.stages)
    sum += stage.repeats * busiest_share(stage, team.ranks) * seconds(stage.work, machine);
  return sum * team.slowdown;
}

TeamShape team_shape(const MachineProfile& machine, int ranks, int nodes, int teams, int threads) {
  const int of_node = (ranks + nodes - 1) / nodes, members = (ranks + teams - 1) / teams;
  const double crowd =
      machine.cores > 0 ? std::max(1.0, static_cast<double>(of_node) * threads / machine.cores) : 1;
  return {.ranks = members,
          .one_node = nodes == 1 || of_node % members == 0,
          .slowdown = crowd * machine.threads / threads};
}

double load_seconds(const UnitWork& unit, const MachineProfile& machine, const TeamShape& team) {
  return seconds(unit.load, machine) * team.slowdown;
}

Traffic traffic_of(const UnitWork& unit, const MachineProfile& machine, const TeamShape& team) {
  Traffic traffic;
  if (team.ranks == 1) return traffic;
  const double latency = team.one_node ? machine.local_link_latency_s : machine.link_latency_s;
  const double speed = 1e9 * (team.one_node ? machine.local_link_gb_s : machine.link_gb_s);
  const double others = team.ranks - 1, depth = steps_of_tree(team.ranks);
  for (const Stage& stage : unit.stages) {
    if (stage.exchange == Exchange::none) continue;
    // Every exchange asks first whether all are well: a number up a tree and down again.
    double time = 2 * depth * latency, messages = 2 * others, sums = 0, factors = 0, codes = 0;
    switch (stage.exchange) {
      case Exchange::sum:
      case Exchange::sum_to_owner: {
        // Members send to the owner one after another; those without a shard send an empty list.
        const double senders = std::min(others, 15.0);
        time += senders * stage.bytes / speed + 2 * others * latency;
        sums += senders * stage.bytes;
        messages += 2 * others;
        if (stage.exchange == Exchange::sum) {
          time += depth * (stage.bytes / speed + 2 * latency);
          sums += others * stage.bytes;
          messages += 2 * others;
        }
        break;
      }
      case Exchange::gather:
        time += depth * (stage.bytes / speed + 2 * latency * team.ranks);
        codes += others * stage.bytes;
        messages += 2 * others * team.ranks;
        break;
      case Exchange::broadcast:
        time += depth * (stage.bytes / speed + 2 * latency);
        factors += others * stage.bytes;
        messages += 2 * others;
        break;
      case Exchange::agree:
      case Exchange::none:
        break;
    }
    traffic.seconds += stage.repeats * time;
    traffic.messages += stage.repeats * messages;
    traffic.sum_bytes += stage.repeats * sums;
    traffic.factor_bytes += stage.repeats * factors;
    traffic.code_bytes += stage.repeats * codes;
  }
  return traffic;
}

Memory memory_of(const UnitWork& unit, int ranks, double memory_limit) {
  Memory memory = unit.memory;
  if (unit.sequences == 0) return memory;
  const double share = busiest_share({.sequences = unit.sequences, .first = unit.sequences}, ranks);
  memory.stream *= share;
  memory.states *= share;
  if (memory_limit > 0 && memory.states > memory_limit / 8)
    memory.states = memory.stream = 0;  // in mapped files
  return memory;
}

}  // namespace ptq
