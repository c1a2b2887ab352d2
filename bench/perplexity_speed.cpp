// One window of a perplexity evaluation, timed: forward pass and log-likelihoods of ids[1..]. bench/perplexity_speed.py drives it
// beside `transformers`; by hand:  echo score | build/bench/perplexity_speed MODEL_DIR IDS_FILE bfloat16|float32 THREADS
//
// Commands, a line each on stdin; a line of JSON each on stdout:
//   score  the window through DecoderModel: seconds, nll (mean, nats)
//   gemm   the same matrix products alone, as plain at::linear on tensors of the same shapes and dtype: seconds, flops
//   parts  seconds of each kind of work alone, at the model's shapes and counts
//   peak   peak resident memory of this process in MiB
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <sys/resource.h>

#include <chrono>
#include <fstream>
#include <iterator>

#include "bench/serve.h"
#include "core/machine.h"
#include "models/attention.h"
#include "models/decoder.h"
#include "models/kernels.h"
#include "models/linear_tiles.h"
#include "models/rope.h"

namespace {

using namespace ptq;

template <typename Work>
double seconds_of(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

class PerplexitySpeed {
 public:
  PerplexitySpeed(const std::string& dir, const std::string& ids_file, const std::string& dtype)
      : model_(Checkpoint::open(dir), bench::dtype_of(dtype)) {
    std::ifstream in(ids_file);
    const std::vector<int64_t> ids{std::istream_iterator<int64_t>(in), {}};
    if (ids.size() < 2) throw UserError(ids_file + ": needs at least two ids");
    ids_T_ = at::tensor(ids);
  }

  Json score() const {
    double nll = 0;
    const double seconds = seconds_of([&] {
      const at::Tensor x_TD = model_.hidden(ids_T_.unsqueeze(0))[0];
      nll = -token_log_likelihoods(model_, x_TD, ids_T_, 1).mean().item<double>();
    });
    return {{"seconds", seconds}, {"nll", nll}};
  }

  Json gemm() const { return products([](const at::Tensor& x, const at::Tensor& w) { return at::linear(x, w); }); }

  template <typename Product>
  Json products(const Product& product) const {
    const ModelConfig& c = model_.config();
    const int64_t T = ids_T_.size(0);
    double seconds = 0, flops = 0;
    const auto timed = [&](int64_t outputs, int64_t inputs, int64_t rows, int64_t times) {
      const at::Tensor x = random({rows, inputs}), w = random({outputs, inputs});
      product(x, w);
      for (int64_t i = 0; i < times; ++i) seconds += seconds_of([&] { product(x, w); });
      flops += 2.0 * double(times) * double(rows) * double(outputs) * double(inputs);
    };
    timed(c.heads * c.head_dim, c.hidden_size, T, c.layers);
    timed(c.kv_heads * c.head_dim, c.hidden_size, T, 2 * c.layers);
    timed(c.hidden_size, c.heads * c.head_dim, T, c.layers);
    timed(c.intermediate_size, c.hidden_size, T, 2 * c.layers);
    timed(c.hidden_size, c.intermediate_size, T, c.layers);
    const int64_t rows = std::min<int64_t>(256, T);  // the head runs in chunks of rows
    timed(c.vocab_size, c.hidden_size, rows, std::max<int64_t>(1, T / rows));
    return {{"seconds", seconds}, {"flops", flops}};
  }

  Json parts() const {
    const ModelConfig& c = model_.config();
    const int64_t T = ids_T_.size(0), rows = std::min<int64_t>(256, T);
    const at::Tensor h = random({1, T, c.hidden_size}), weight = random({c.hidden_size});
    const at::Tensor q = random({1, T, c.heads, c.head_dim}), k = random({1, T, c.kv_heads, c.head_dim});
    const at::Tensor gate = random({1, T, c.intermediate_size}), logits = random({rows, c.vocab_size});
    const auto rope = model_.context(T).rope;
    const at::Tensor targets = ids_T_.narrow(0, 0, rows);
    const auto timed = [&](int64_t times, const auto& work) {
      work();
      return seconds_of([&] {
        for (int64_t i = 0; i < times; ++i) work();
      });
    };
    Json result;
    result["linears and head"] = products([](const at::Tensor& x, const at::Tensor& w) { return linear_product(x, w); })["seconds"];
    result["linears and head by at::linear"] = gemm()["seconds"];
    result["attention"] = timed(c.layers, [&] { causal_attention(q, k, k, 0); });
    result["rope"] = timed(c.layers, [&] {
      apply_rope_fresh(q, *rope, 0);
      apply_rope_fresh(k, *rope, 0);
    });
    result["norms and residuals"] = timed(c.layers, [&] {
      rms_norm(h, weight, 1e-5);
      add_rms_norm(h, h, weight, 1e-5);
      add_to_fresh(at::empty_like(h), h);
    });
    result["silu"] = timed(c.layers, [&] { silu_mul_fresh(gate, gate); });
    result["log-softmax"] = timed(T / rows, [&] { row_log_likelihoods(logits, targets); });
    return result;
  }

 private:
  at::Tensor random(at::IntArrayRef shape) const { return at::randn(shape, at::kFloat).to(model_.compute_dtype()); }

  DecoderModel model_;
  at::Tensor ids_T_;
};

Json peak() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return {{"peak_mib", usage.ru_maxrss / 1024}, {"minor_faults", usage.ru_minflt}};
}

void run(const std::vector<std::string>& words) {
  if (words.size() != 4) throw UserError("usage: perplexity_speed MODEL_DIR IDS_FILE bfloat16|float32 THREADS");
  at::set_num_threads(std::stoi(words[3]));
  const PerplexitySpeed speed(words[0], words[1], words[2]);
  bench::serve({{"score", [&] { return speed.score(); }},
                {"gemm", [&] { return speed.gemm(); }},
                {"parts", [&] { return speed.parts(); }},
                {"peak", peak}});
}

}  // namespace

int main(int argc, char** argv) {
  ptq::use_huge_pages();  // as harness does
  return ptq::bench::guarded("perplexity_speed", [&] { run({argv + 1, argv + argc}); });
}
