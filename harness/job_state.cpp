#include "harness/job_state.h"

#include "algorithms/sparsity.h"
#include "core/error.h"

namespace ptq {

JobState::JobState(const QuantizeJob& job, int64_t hidden_size)
    : parts(job.artifact, job.key), steps(job.method.make_steps()), turns(steps, hidden_size) {}

void JobState::find_step_keys(const QuantizeJob& job) {
  const std::vector<StepConfig>& configs = job.method.steps;
  for (size_t i = 0; i < configs.size(); ++i) {
    const Json read = to_json(steps[i]->reads_activations() ? job.spec : job.spec.without_activations());
    step_keys.push_back(canonical({configs[i].step, configs[i].options, read}));
  }
}

QuantizeResult JobState::result(const QuantizeJob& job, int64_t layers, const Checkpoint& checkpoint) const {
  QuantizeResult result{.key = job.key, .error = error, .digest = {}, .metrics = {}};
  if (!error.empty()) return result;
  try {
    double bits = 0, weights = 0;
    for (int64_t index = 0; index < layers; ++index) {
      const BlockRecord record = parts.record(index);
      result.metrics.insert(result.metrics.end(), record.metrics.begin(), record.metrics.end());
      bits += record.bits;
      weights += record.weights;
    }
    result.average_bits = bits / weights;
    add_model_sparsity(result.metrics);
    result.digest = parts.merge(layers,
                                {{"key", job.key},
                                 {"method", canonical(to_json(job.method))},
                                 {"quantization", canonical(to_json(job.spec))}},
                                turns.ends(checkpoint));
  } catch (const UserError& e) {
    result.error = e.what();
  }
  return result;
}

}  // namespace ptq
