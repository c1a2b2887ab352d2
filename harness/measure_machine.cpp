// The calibration of the cost model: the program's own operations at two shapes each, one thread, a few
// seconds in all. Processor time of the thread is what counts, so that other work on the machine disturbs it
// little.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <set>
#include <vector>

#include "algorithms/awq_clip.h"
#include "algorithms/block_gradient.h"
#include "algorithms/gptq_solver.h"
#include "algorithms/hessian.h"
#include "algorithms/hqq.h"
#include "algorithms/ranges.h"
#include "algorithms/signround.h"
#include "algorithms/spqr_solver.h"
#include "algorithms/statistics.h"
#include "core/log.h"
#include "core/machine.h"
#include "core/sha256.h"
#include "harness/cost_model.h"
#include "models/attention.h"
#include "models/kernels.h"
#include "models/linear_tiles.h"
#include "models/rope.h"

namespace ptq {
namespace {

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Median of several runs, the first (cold) one left out.
double measure(const std::function<void()>& work) {
  work();
  std::vector<double> times;
  double total = 0;
  while (times.size() < 3 || (total < 0.06 && times.size() < 200)) {
    const double start = thread_seconds();
    work();
    times.push_back(thread_seconds() - start);
    total += times.back();
  }
  std::nth_element(times.begin(), times.begin() + static_cast<int64_t>(times.size() / 2), times.end());
  return times[times.size() / 2];
}

struct Sample {
  double units, calls, seconds;
};
// seconds = units / rate + calls * call, through two samples; where that gives no positive numbers, through
// the larger one.
KernelRate fit(const Sample& small, const Sample& large) {
  const double divisor = large.units * small.calls - small.units * large.calls;
  const double per_unit =
      divisor == 0 ? 0 : (large.seconds * small.calls - small.seconds * large.calls) / divisor;
  const double call =
      divisor == 0 ? 0 : (large.units * small.seconds - small.units * large.seconds) / divisor;
  if (per_unit > 0 && call >= 0) return {1 / per_unit, call};
  return {large.units / large.seconds, 0};
}

ModelConfig shape(int64_t hidden, int64_t inner, int64_t heads, int64_t kv_heads, int64_t head_dim) {
  ModelConfig c;
  c.family = "llama";
  c.vocab_size = 1024;
  c.hidden_size = hidden;
  c.intermediate_size = inner;
  c.layers = 1;
  c.heads = heads;
  c.kv_heads = kv_heads;
  c.head_dim = head_dim;
  c.max_positions = 1024;
  c.sliding_window = {0};
  return c;
}

DecoderBlock random_block(const ModelConfig& c, at::ScalarType dtype) {
  const auto linear = [&](int64_t outputs, int64_t inputs, const std::string& name) {
    Linear result;
    result.name = name;
    result.weight_OI = at::randn({outputs, inputs}).mul_(0.05).to(dtype);
    return result;
  };
  DecoderBlock b;
  b.heads = c.heads;
  b.kv_heads = c.kv_heads;
  b.head_dim = c.head_dim;
  b.norm_eps = 1e-5;
  b.input_norm_D = at::ones({c.hidden_size}, dtype);
  b.post_norm_D = at::ones({c.hidden_size}, dtype);
  const int64_t D = c.hidden_size, q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim,
                F = c.intermediate_size;
  b.q = linear(q, D, "q");
  b.k = linear(kv, D, "k");
  b.v = linear(kv, D, "v");
  b.o = linear(D, q, "o");
  b.gate = linear(F, D, "gate");
  b.up = linear(F, D, "up");
  b.down = linear(D, F, "down");
  return b;
}

class Calibration {
 public:
  MachineProfile run() {
    bandwidth();
    machine_ = machine_from_json({{"name", cpu_model()},
                                  {"gflops_float32", 80},
                                  {"gflops_bfloat16", 160},
                                  {"memory_bandwidth_gb_s", bandwidth_ / 1e9},
                                  {"memory_gb", static_cast<double>(sysconf(_SC_PHYS_PAGES)) * 4096e-9},
                                  {"link_gb_s", 1},
                                  {"link_latency_s", 1e-4},
                                  {"local_link_gb_s", 1},
                                  {"local_link_latency_s", 1e-4},
                                  {"cores", static_cast<double>(sysconf(_SC_NPROCESSORS_ONLN))}},
                                 "calibration");
    forward(at::kFloat);
    forward(at::kBFloat16);
    matrices();
    grids();
    solver();
    learning();
    memory();
    machine_.gflops_float32 = rate(Kernel::product_float32).per_second / 1e9;
    machine_.gflops_bfloat16 = rate(Kernel::product_bfloat16).per_second / 1e9;
    machine_.measured = machine_identity();
    return machine_;
  }

 private:
  KernelRate& rate(Kernel kernel) { return machine_.kernels[static_cast<size_t>(kernel)]; }
  static WeightSpec groups(int64_t size) {
    WeightSpec spec;
    spec.group_size = size;
    return spec;
  }

  void bandwidth() {
    const at::Tensor from = at::ones({8 << 20}), to = at::empty_like(from);  // 32 MiB each
    bandwidth_ = 2.0 * static_cast<double>(from.nbytes()) / measure([&] { to.copy_(from); });
  }

  void forward(at::ScalarType dtype) {
    const bool half = dtype == at::kBFloat16;
    const Kernel product = half ? Kernel::product_bfloat16 : Kernel::product_float32,
                 pack = half ? Kernel::pack_bfloat16 : Kernel::pack_float32,
                 skinny = half ? Kernel::skinny_bfloat16 : Kernel::skinny_float32,
                 attention = half ? Kernel::attention_bfloat16 : Kernel::attention_float32,
                 elements = half ? Kernel::elements_bfloat16 : Kernel::elements_float32;
    const auto product_seconds = [&](int64_t rows, int64_t inputs, int64_t outputs) {
      const at::Tensor x = at::randn({rows, inputs}).to(dtype), w = at::randn({outputs, inputs}).to(dtype);
      return measure([&] { linear_product(x, w); });
    };
    constexpr int64_t wide = 1536, narrow = 576, fewest = 4, few = 32, many = 512;
    const double weights = wide * narrow;
    const KernelRate both = fit({2 * weights * few, 1, product_seconds(few, narrow, wide)},
                                {2 * weights * many, 1, product_seconds(many, narrow, wide)});
    rate(product) = {both.per_second, 2e-6};
    rate(pack) = {weights / std::max(1e-9, both.call_s - 2e-6), 0};
    rate(skinny) = {2048.0 * 192 / product_seconds(fewest, 192, 2048), 0};
    if (!half) {  // larger than the caches, as heads are
      const double head = 16384.0 * 576, seconds = product_seconds(fewest, 576, 16384);
      rate(Kernel::stream) = {4 * head / std::max(seconds / 10, seconds - head / rate(skinny).per_second), 0};
    }

    const auto attention_sample = [&](const ModelConfig& c, int64_t tokens) {
      const at::Tensor q = at::randn({1, tokens, c.heads, c.head_dim}).to(dtype),
                       k = at::randn({1, tokens, c.kv_heads, c.head_dim}).to(dtype),
                       v = at::randn(k.sizes()).to(dtype);
      return Sample{attention_work(c, 1, tokens, half).units[static_cast<size_t>(attention)], 1,
                    measure([&] { causal_attention(q, k, v, 0); })};
    };
    const ModelConfig small = shape(192, 704, 6, 2, 32), large = shape(576, 1536, 9, 3, 64);
    rate(attention) = fit(attention_sample(small, 256), attention_sample(large, 512));

    // What a block takes beside products and attention.
    const auto rest = [&](const ModelConfig& c, int64_t tokens) {
      const DecoderBlock block = random_block(c, dtype);
      ForwardContext context;
      context.rope = rope_table(c, tokens, nullptr);
      const at::Tensor h = at::randn({1, tokens, c.hidden_size}).to(dtype);
      Work work = block_work(c, 1, tokens, half);
      const double units = work.units[static_cast<size_t>(elements)],
                   calls = work.calls[static_cast<size_t>(elements)];
      work.units[static_cast<size_t>(elements)] = work.calls[static_cast<size_t>(elements)] = 0;
      const double all = measure([&] { block.forward(h, context); });
      return Sample{units, calls, std::max(0.02 * all, all - seconds(work, machine_))};
    };
    rate(elements) = fit(rest(small, 256), rest(large, 512));

    const at::Tensor logits = at::randn({256, 16384}).to(dtype), target = at::zeros({256}, at::kLong);
    rate(Kernel::log_softmax) = {256.0 * 16384 / measure([&] { row_log_likelihoods(logits, target); }), 0};
  }

  void matrices() {
    const auto gram = [&](int64_t tokens, int64_t columns) {
      const at::Tensor x = at::randn({tokens, columns});
      std::vector<at::Tensor> sum = zero_gram_strips(x);
      double elements = 0;
      for (const at::Tensor& strip : sum) elements += static_cast<double>(strip.numel());
      return Sample{2 * static_cast<double>(tokens) * elements, static_cast<double>(sum.size()),
                    measure([&] { add_gram(x, sum); })};
    };
    rate(Kernel::gram) = fit(gram(256, 192), gram(512, 768));
    const auto gemm = [&](int64_t rows, int64_t inner) {
      const at::Tensor a = at::randn({rows, inner}), b = at::randn({inner, inner});
      return Sample{2.0 * static_cast<double>(rows * inner * inner), 1, measure([&] { at::mm(a, b); })};
    };
    rate(Kernel::gemm) = fit(gemm(128, 64), gemm(512, 768));
    const auto update = [&](int64_t width, int64_t columns) {
      at::Tensor w = at::randn({row_tile, columns + width});
      at::Tensor later = w.slice(1, width);
      const at::Tensor e = at::randn({row_tile, width}),
                       u = at::randn({width, columns + width}).slice(1, width);
      return Sample{2.0 * static_cast<double>(row_tile * width * columns), 1,
                    measure([&] { later.addmm_(e, u, 1, -1e-3); })};
    };
    rate(Kernel::update) = fit(update(64, 128), update(64, 1024));
    const auto factor = [&](int64_t n) {
      const at::Tensor x = at::randn({n + n / 2, n});
      const at::Tensor hessian = at::mm(x.t(), x);
      const auto size = static_cast<double>(n);
      return Sample{4.0 / 3 * size * size * size, 1,
                    measure([&] { factor_hessian(hessian, 0.01, false, "calibration"); })};
    };
    rate(Kernel::factor) = fit(factor(192), factor(768));
  }

  void grids() {
    const auto weights = [](int64_t rows, int64_t columns) { return at::randn({rows, columns}); };
    const WeightSpec spec = groups(64);
    const auto sample = [&](int64_t rows, int64_t columns,
                            const std::function<void(const at::Tensor&)>& work) {
      const at::Tensor w = weights(rows, columns);
      return Sample{static_cast<double>(rows * columns), 1, measure([&] { work(w); })};
    };
    const auto both = [&](Kernel kernel, const std::function<void(const at::Tensor&)>& work) {
      rate(kernel) = fit(sample(128, 64, work), sample(1536, 576, work));
    };
    both(Kernel::range, [&](const at::Tensor& w) { minmax_grid(w, spec); });
    both(Kernel::quantize, [&](const at::Tensor& w) { fake_quantize(w, minmax_grid(w, spec)); });
    // A grid is made there only because the rounding needs one.
    const double range_unit = 1 / rate(Kernel::range).per_second,
                 quantize_unit = 1 / rate(Kernel::quantize).per_second;
    rate(Kernel::quantize).per_second = 1 / std::max(quantize_unit / 10, quantize_unit - range_unit);
    rate(Kernel::quantize).call_s =
        std::max(2e-6, rate(Kernel::quantize).call_s - rate(Kernel::range).call_s);
    both(Kernel::candidate, [&](const at::Tensor& w) {
      const at::Tensor scale = at::ones({1, w.size(1)}), scaled = w * scale;
      fake_quantize(scaled, minmax_grid(scaled, spec)).div_(scale);
    });
    const auto clip = [&](int64_t group) {
      const at::Tensor w = weights(128, group), x = at::randn({group, group});
      const std::vector<at::Tensor> gram = {at::mm(x.t(), x)};
      const double size = 128.0 * static_cast<double>(group), flops = 2 * size * static_cast<double>(group);
      const double each = measure([&] { search_clip(w, gram, groups(group), {}, "calibration"); }) / 10;
      return Sample{size, 1, std::max(each / 10, each - flops / rate(Kernel::gemm).per_second)};
    };
    rate(Kernel::clip) = fit(clip(64), clip(256));
    const auto search = [&](int64_t rows, int64_t columns) {
      const at::Tensor w = weights(rows, columns);
      MseOptions options;
      options.candidates = 8;
      return Sample{static_cast<double>(rows * columns) * 8, 8, measure([&] { mse_grid(w, spec, options); })};
    };
    rate(Kernel::search) = fit(search(128, 64), search(256, 256));
    const auto zero_search = [&](int64_t rows, int64_t columns) {
      const at::Tensor w = weights(rows, columns);
      HqqOptions options;
      options.iterations = 7;
      return Sample{static_cast<double>(rows * columns) * 8, 8, measure([&] { hqq_grid(w, spec, options); })};
    };
    rate(Kernel::zero_search) = fit(zero_search(128, 64), zero_search(256, 256));
  }

  void solver() {
    // One processing block: no updates of later columns.
    const auto sample = [&](int64_t width) {
      const at::Tensor w = at::randn({row_tile, width}).mul_(0.05), x = at::randn({2 * width, width});
      const HessianFactor factor = factor_hessian(at::mm(x.t(), x), 0.01, false, "calibration");
      const WeightSpec spec = groups(width);
      const QuantGrid grid = minmax_grid(w, spec);
      const GptqProblem problem{
          .weight_OI = w, .factor = factor, .spec = spec, .grid = grid, .fit_group = {}, .block_size = width};
      return Sample{static_cast<double>(row_tile * width * width) / 2, 1,
                    measure([&] { gptq_solve_tile(problem, 0); })};
    };
    rate(Kernel::solve) = fit(sample(32), sample(128));

    const auto leave_out = [&](int64_t rows) {
      constexpr int64_t width = 128, group = 16;
      const at::Tensor w = at::randn({rows, width}).mul_(0.05), x = at::randn({2 * width, width});
      const HessianFactor factor = factor_hessian(at::mm(x.t(), x), 1, false, "calibration");
      const WeightSpec spec = groups(group);
      const QuantGrid grid = minmax_grid(w, spec);
      SpqrProblem problem{.weight_OI = w, .factor = factor, .spec = spec, .grid = grid, .fit_group = {}};
      problem.fit_group = [&](const at::Tensor& of_group) {
        return minmax_grid(of_group, groups(of_group.size(1)));
      };
      problem.threshold = spqr_threshold(w, factor, 0.2);
      return Sample{static_cast<double>(rows * width * group), static_cast<double>(width),
                    measure([&] { spqr_solve_tile(problem, 0); })};
    };
    rate(Kernel::leave_out) = fit(leave_out(16), leave_out(row_tile));
  }

  void learning() {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const bool half = dtype == at::kBFloat16;
      const auto sample = [&](const ModelConfig& c, int64_t tokens) {
        ForwardContext context;
        context.rope = rope_table(c, tokens, nullptr);
        const BlockGradient gradient(random_block(c, at::kFloat), dtype, context);
        const at::Tensor h = at::randn({tokens, c.hidden_size}), target = at::randn({tokens, c.hidden_size});
        const Work pass = block_work(c, 1, tokens, half);
        const double attended =
            pass.units[static_cast<size_t>(half ? Kernel::attention_bfloat16 : Kernel::attention_float32)];
        return Sample{
            6 * static_cast<double>(tokens) * ModelShape{.config = c}.block_weights() + 3 * attended, 1,
            measure([&] { gradient(h, target, 1e-3); })};
      };
      rate(half ? Kernel::gradient_bfloat16 : Kernel::gradient_float32) =
          fit(sample(shape(192, 704, 6, 2, 32), 256), sample(shape(576, 1536, 9, 3, 64), 512));
    }
    const auto sample = [&](int64_t rows, int64_t columns) {
      const at::Tensor w = at::randn({rows, columns}).mul_(0.05);
      SignRoundWeight weight(w, minmax_grid(w, groups(64)));
      const at::Tensor gradient = at::randn({rows, columns});
      at::Tensor sum = at::zeros({rows, columns});
      return Sample{static_cast<double>(rows * columns), 1, measure([&] {
                      weight.fake_quantized(at::kBFloat16).t().contiguous();
                      sum.add_(gradient.to(at::kBFloat16).to(at::kFloat));
                      SignRoundWeight::Gradients gradients = weight.gradients(gradient);
                      weight.rounding_OI.sub_(gradients.rounding_OI.sign_(), 1e-3);
                      weight.rounding_OI.clamp_(-0.5, 0.5);
                    })};
    };
    rate(Kernel::learn) = fit(sample(64, 192), sample(1536, 576));
  }

  void memory() {
    const auto load = [&](int64_t rows, int64_t columns) {
      const at::Tensor w = at::randn({rows, columns}).to(at::kBFloat16);
      return Sample{static_cast<double>(rows * columns), 1,
                    measure([&] { w.to(at::kFloat).isfinite().all(); })};
    };
    rate(Kernel::load) = fit(load(64, 192), load(1536, 576));
    const auto codes = [&](int64_t rows, int64_t columns) {
      const at::Tensor w = at::randn({rows, columns});
      const QuantGrid grid = minmax_grid(w, groups(64));
      const at::Tensor quantized = quantize(w, grid);
      return Sample{static_cast<double>(rows * columns), 1, measure([&] { dequantize(quantized, grid); })};
    };
    rate(Kernel::dequantize) = fit(codes(64, 192), codes(1536, 576));
    const std::string bytes(4 << 20, 'x');
    // Written, read, written and hashed: hashing is the longest of these.
    rate(Kernel::file) = {static_cast<double>(bytes.size()) / (2 * measure([&] { sha256(bytes); })), 0};
  }

  MachineProfile machine_;
  double bandwidth_ = 0;
};

}  // namespace

MachineProfile measure_machine() {
  const at::NoGradGuard no_grad;
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const double start = thread_seconds();
  MachineProfile machine = Calibration().run();
  at::set_num_threads(threads);
  log_info("measured this machine in " + shortest(std::round(10 * (thread_seconds() - start)) / 10) +
           " s of processor time; kept in " + (machine_file().empty() ? "no file" : machine_file()));
  return machine;
}

}  // namespace ptq
