#include "evaluators/model_analysis.h"

#include <c10/core/GradMode.h>

#include <cmath>
#include <limits>
#include <map>
#include <optional>

#include "core/error.h"
#include "models/dropped_block.h"
#include "quant/activation.h"

namespace ptq {

void Moments::add(const at::Tensor& x) {
  const at::Tensor values = x.to(at::kDouble).flatten();
  const auto n = static_cast<double>(values.numel());
  if (n == 0) return;
  const double mean = values.mean().item<double>();
  const at::Tensor d = values - mean, d2 = d * d;
  const double m2 = d2.sum().item<double>(), m3 = (d2 * d).sum().item<double>(),
               m4 = (d2 * d2).sum().item<double>();
  const double a = count_, all = a + n, delta = mean - mean_, step = delta / all;
  // The fourth moment reads the others as they were.
  m4_ += m4 + delta * step * step * step * a * n * (a * a - a * n + n * n) +
         6 * step * step * (a * a * m2 + n * n * m2_) + 4 * step * (a * m3 - n * m3_);
  m3_ += m3 + delta * step * step * a * n * (a - n) + 3 * step * (a * m2 - n * m2_);
  m2_ += m2 + delta * step * a * n;
  mean_ += step * n;
  count_ = all;
}

double Moments::kurtosis() const {
  return m2_ > 0 ? count_ * m4_ / (m2_ * m2_) : std::numeric_limits<double>::quiet_NaN();
}

double kurtosis(const at::Tensor& x) {
  Moments moments;
  moments.add(x);
  return moments.kurtosis();
}

void Similarity::add(const at::Tensor& y, const at::Tensor& other) {
  const at::Tensor a = y.to(at::kDouble).flatten(), b = other.to(at::kDouble).flatten();
  const double aa = a.dot(a).item<double>(), bb = b.dot(b).item<double>(), ab = a.dot(b).item<double>();
  cosines_ += ab / std::sqrt(aa * bb);
  error_ += (b - a).square().sum().item<double>();
  size_ += aa;
  ++sequences_;
}

double Similarity::cosine() const { return cosines_ / static_cast<double>(sequences_); }
double Similarity::relative_error() const { return std::sqrt(error_ / size_); }

at::Tensor column_errors_I(const at::Tensor& weight_OI, const at::Tensor& quantized_OI, bool scaled) {
  PTQ_CHECK_EQ(weight_OI.sizes(), quantized_OI.sizes());
  at::Tensor w = weight_OI.to(at::kDouble);
  const at::Tensor q = quantized_OI.to(at::kDouble);
  const auto fit = [&](int64_t along) {  // the best factor of each row (1) or column (0)
    const at::Tensor factor = (q * w).sum(along, true) / w.square().sum(along, true);
    w = w * at::nan_to_num(factor, 0.0);
  };
  for (int round = 0; scaled && round < 3; ++round) {
    fit(0);
    fit(1);
  }
  if (scaled) fit(0);
  return ((q - w).square().sum(0) / w.square().sum(0)).sqrt();
}

namespace {

// What is collected of one linear over all sequences.
struct Collected {
  Moments input, quantized_input;
  Similarity output;
};

// A forward pass of one sequence; visit(linear, x, rounded) for each linear: its input before and after the
// model rounds it.
at::Tensor run(DecoderBlock& block, const at::Tensor& h_1TD, ForwardContext context,
               const std::function<void(const Linear&, const at::Tensor&, const at::Tensor&)>& visit) {
  context.on_subset_input = [&](SubsetKind kind, const at::Tensor& x_BTI) {
    const auto& quantizer = block.input_quantizers[static_cast<size_t>(kind)];
    const at::Tensor rounded_BTI = quantizer ? (*quantizer)(x_BTI) : x_BTI;
    for (const Linear* linear : block.subset(kind)) visit(*linear, x_BTI, rounded_BTI);
  };
  return block.forward(h_1TD, context);
}

std::vector<at::Tensor> embeddings(const DecoderModel& model,
                                   const std::vector<std::vector<int32_t>>& ids_NT) {
  std::vector<at::Tensor> states;
  for (const auto& ids : ids_NT) states.push_back(model.embed(at::tensor(ids).unsqueeze(0)));
  return states;
}

}  // namespace

std::string linear_kind(const std::string& name) { return name.substr(name.rfind('.') + 1); }

std::vector<BlockAnalysis> analyze_model(const DecoderModel& full, const DecoderModel* quantized, bool scaled,
                                         const std::vector<std::vector<int32_t>>& ids_NT,
                                         const std::function<void(double)>& share) {
  const c10::NoGradGuard no_grad;
  PTQ_CHECK(!ids_NT.empty());
  std::vector<at::Tensor> h_full = embeddings(full, ids_NT);
  std::vector<at::Tensor> h_quantized;
  if (quantized) h_quantized = embeddings(*quantized, ids_NT);
  const auto tokens = static_cast<int64_t>(ids_NT.front().size());
  std::vector<BlockAnalysis> result;
  for (int64_t i = 0; i < full.config().layers; ++i) {
    DecoderBlock block = full.load_block(i);
    std::optional<DecoderBlock> other;
    if (quantized) other = quantized->load_block(i);
    std::map<std::string, Collected> collected;
    Similarity output;
    for (size_t n = 0; n < h_full.size(); ++n) {
      std::map<std::string, at::Tensor> outputs;
      h_full[n] = run(block, h_full[n], full.context(tokens),
                      [&](const Linear& linear, const at::Tensor& x, const at::Tensor& rounded) {
                        collected[linear.name].input.add(x);
                        if (quantized) outputs[linear.name] = linear.forward(rounded);
                      });
      if (!quantized) continue;
      h_quantized[n] = run(*other, h_quantized[n], quantized->context(tokens),
                           [&](const Linear& linear, const at::Tensor& x, const at::Tensor& rounded) {
                             Collected& c = collected[linear.name];
                             c.quantized_input.add(x);
                             c.output.add(outputs.at(linear.name), linear.forward(rounded));
                           });
      output.add(h_full[n], h_quantized[n]);
      if (share)
        share((static_cast<double>(i) + static_cast<double>(n + 1) / static_cast<double>(h_full.size())) /
              static_cast<double>(full.config().layers));
    }
    BlockAnalysis analysis;
    analysis.index = i;
    analysis.dropped = other && is_dropped(*other);
    const std::vector<Linear*> linears = block.linears();
    for (size_t l = 0; l < linears.size(); ++l) {
      const Collected& c = collected.at(linears[l]->name);
      LinearAnalysis one;
      one.name = linears[l]->name;
      one.weight_kurtosis = kurtosis(linears[l]->weight_OI);
      one.input_kurtosis = c.input.kurtosis();
      if (quantized && !analysis.dropped) {
        const at::Tensor& weight = other->linears()[l]->weight_OI;
        one.quantized_weight_kurtosis = kurtosis(weight);
        one.quantized_input_kurtosis = c.quantized_input.kurtosis();
        one.cosine = c.output.cosine();
        one.relative_error = c.output.relative_error();
        one.column_errors_I = column_errors_I(linears[l]->weight_OI, weight, scaled);
      }
      analysis.linears.push_back(std::move(one));
    }
    if (quantized) {
      analysis.cosine = output.cosine();
      analysis.relative_error = output.relative_error();
    }
    result.push_back(std::move(analysis));
  }
  return result;
}

}  // namespace ptq
