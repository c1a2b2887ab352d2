// speed: tokens a second and memory of one model as it would be deployed, the columns of LLMC's and
// TesseraQ's speed tables: weight memory, prefill and decode tokens a second for some batch sizes, peak
// memory. Times are of this machine and this moment: printed, never stored, and in no table.
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <chrono>
#include <iostream>
#include <optional>
#include <sstream>
#include <thread>

#include "algorithms/ranges.h"
#include "core/error.h"
#include "core/machine.h"
#include "harness/commands.h"
#include "models/overlay.h"
#include "models/packed_model.h"

namespace ptq {
namespace {

struct Options {
  std::string model, artifact, dtype = "bfloat16";
  int bits = 0;
  int64_t group = 128, prompt = 512, tokens = 64;
  std::vector<int64_t> batches = {1, 16};
  bool symmetric = false, json = false;
  int threads = 0;
};

// Round to nearest on the grid of each group's least and greatest weight: what is measured depends on the
// codes' format alone.
void round_to_nearest(Linear& linear, const WeightSpec& spec) {
  const at::Tensor w_OI = linear.weight_OI.to(at::kFloat);
  const QuantGrid grid = minmax_grid(w_OI, spec, {}, linear.name);
  linear.set_quantized({.codes_OI = quantize(w_OI, grid), .grid = grid, .bits = spec.bits});
}

double seconds_of(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// A prompt read at once, then tokens one by one, each the likeliest after the ones before.
Json measure(const DecoderModel& model, const PackedModel& packed, int64_t batch, const Options& o) {
  const c10::NoGradGuard no_grad;
  const at::Tensor ids_BT =
      (at::arange(batch * o.prompt) * 7919 % model.config().vocab_size).view({batch, -1});
  const auto next = [&](const at::Tensor& hidden_BTD) {
    return model.head(hidden_BTD.narrow(1, hidden_BTD.size(1) - 1, 1)).argmax(-1);
  };
  KvCache warm(model.config().layers);
  next(packed.hidden(next(packed.hidden(ids_BT.narrow(1, 0, std::min<int64_t>(o.prompt, 16)), warm)), warm));
  forget_peak();
  KvCache cache(model.config().layers, o.prompt + o.tokens);
  at::Tensor ids_B1;
  const double prefill = seconds_of([&] { ids_B1 = next(packed.hidden(ids_BT, cache)); });
  const double decode = seconds_of([&] {
    for (int64_t i = 0; i < o.tokens; ++i) ids_B1 = next(packed.hidden(ids_B1, cache));
  });
  return {{"batch", batch},
          {"prefill_tokens_per_second", static_cast<double>(batch * o.prompt) / prefill},
          {"decode_tokens_per_second", static_cast<double>(batch * o.tokens) / decode},
          {"peak_memory_bytes", peak_resident_bytes()}};
}

std::shared_ptr<const OverlayFile> artifact(const Options& o) {
  return o.artifact.empty() ? nullptr : OverlayFile::open(o.artifact);
}

std::unique_ptr<PackedModel> pack(const DecoderModel& model, const Options& o) {
  // A mapping of its own, which goes with it: pages that were read for packing are not the model's memory.
  const DecoderModel source(Checkpoint::open(o.model), model.compute_dtype(), artifact(o));
  WeightSpec spec;
  spec.bits = o.bits;
  spec.symmetric = o.symmetric;
  spec.group_size = o.group;
  spec.granularity = o.group > 0 ? Granularity::group : Granularity::channel;
  return std::make_unique<PackedModel>(model, [&](int64_t i) {
    DecoderBlock block = source.load_block(i);
    if (o.bits > 0)  // then there is no artifact, and no block is dropped
      for (Linear* linear : block.linears()) round_to_nearest(*linear, spec);
    return block;
  });
}

int speed(const Options& o) {
  if (o.dtype != "float32" && o.dtype != "bfloat16")
    throw UserError("--dtype is '" + o.dtype + "'; allowed: float32, bfloat16");
  if (!o.artifact.empty() && o.bits > 0) throw UserError("give either --artifact or --bits");
  at::set_num_threads(o.threads > 0 ? o.threads
                                    : std::max(1, static_cast<int>(std::thread::hardware_concurrency())));
  const DecoderModel model(Checkpoint::open(o.model), o.dtype == "bfloat16" ? at::kBFloat16 : at::kFloat,
                           artifact(o));
  const auto packed = pack(model, o);
  const int64_t vocabulary =
      model.config().vocab_size * model.config().hidden_size * (o.dtype == "bfloat16" ? 2 : 4);
  Json result = {{"model", o.model},
                 {"dtype", o.dtype},
                 {"threads", at::get_num_threads()},
                 {"prompt", o.prompt},
                 {"tokens", o.tokens},
                 {"weight_memory_bytes", packed->weight_bytes()},
                 {"head_memory_bytes", vocabulary},
                 {"kernels", Json::object()},
                 {"batches", Json::array()}};
  for (const auto& [kernel, count] : packed->linears()) result["kernels"][kernel_name(kernel)] = count;
  for (const int64_t batch : o.batches) result["batches"].push_back(measure(model, *packed, batch, o));
  if (o.json) {
    std::cout << result.dump(2) << "\n";
    return success;
  }
  for (const auto& [name, count] : result["kernels"].items())
    std::cout << "kernel " << (name == "dense" ? "dense " + o.dtype : name) << ": " << count << " linears\n";
  std::cout << "weight memory " << result["weight_memory_bytes"] << " bytes (blocks), head " << vocabulary
            << "\n";
  for (const Json& row : result["batches"])
    std::cout << "batch " << row["batch"] << "  prefill " << shortest(row["prefill_tokens_per_second"])
              << " tokens/s  decode " << shortest(row["decode_tokens_per_second"])
              << " tokens/s  peak memory " << row["peak_memory_bytes"] << " bytes\n";
  return success;
}

}  // namespace

Command add_speed(CLI::App& program) {
  auto o = std::make_shared<Options>();
  CLI::App* app = program.add_subcommand(
      "speed",
      "Tokens a second and memory of a model, its codes packed for LibTorch's int4 and int8 kernels");
  app->add_option("--model", o->model, "Model folder")->required();
  app->add_option("--artifact", o->artifact, "Quantized model: a file under a database's artifacts folder");
  app->add_option("--bits", o->bits, "Or: round the weights to nearest first; default: full precision")
      ->check(CLI::Range(2, 8));
  app->add_option("--group-size", o->group, "Of --bits; 0: one group a row")->capture_default_str();
  app->add_flag("--symmetric", o->symmetric, "Of --bits");
  app->add_option("--dtype", o->dtype, "Of products and what is not quantized: float32 or bfloat16")
      ->capture_default_str();
  app->add_option("--prompt", o->prompt, "Tokens that are read at once")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app->add_option("--tokens", o->tokens, "Tokens that are made one by one")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app->add_option("--batch", o->batches, "Sequences at a time; several are measured one after another")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app->add_option("--threads", o->threads, "Default: all cores");
  app->add_flag("--json", o->json, "Print JSON");
  return {app, [o](Communicator& comm) { return only_on_root(comm, [&] { return speed(*o); }); }};
}

}  // namespace ptq
