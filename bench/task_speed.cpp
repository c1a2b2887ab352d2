// Evaluations, timed: documents read, requests built, planned and scored, metrics. bench/task_speed.py drives
// it beside lm-eval; by hand:  echo score | build/bench/task_speed MODEL_DIR DOCUMENTS SHOTS FEWSHOT_FILE|-
// LIMIT bfloat16|float32 THREADS TASK...
//
// Commands, a line each on stdin; a line of JSON each on stdout:
//   score  each task, one after another: seconds (and those before the first forward pass), processor
//   seconds,
//          counts of requests, batches and tokens that the model reads, metrics, the highest resident memory
//          in MiB during the command
//   values the log-likelihoods of the last score, in order of the tasks' requests; texts: what was generated
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <chrono>
#include <ctime>

#include "bench/serve.h"
#include "core/machine.h"
#include "evaluators/decoding.h"
#include "evaluators/scorer.h"
#include "models/tokenizer.h"

namespace {

using namespace ptq;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }  // of all threads

class TaskSpeed {
 public:
  TaskSpeed(const std::string& dir, const EvaluationSpec& spec, const std::string& dtype,
            std::vector<std::string> tasks)
      : dir_(dir),
        model_(Checkpoint::open(dir), bench::dtype_of(dtype)),
        tokenizer_(Tokenizer::load(dir)),
        spec_(spec),
        tasks_(std::move(tasks)) {
    for (const std::string& name : tasks_)
      if (!TaskRegistry::get().find(name))
        throw UserError(unknown_name_message("task", name, TaskRegistry::get().names()));
  }

  Json score() {
    forget_peak();
    values_.clear();
    texts_ = Json::array();
    Json metrics = Json::object();
    int64_t batches = 0, tokens = 0, generated = 0;
    double prepared = 0;
    const double start = now(), cpu_start = cpu_seconds();
    for (const std::string& name : tasks_) {
      spec_.name = spec_.task = name;
      const double begun = now();
      const TaskInput input{spec_, *tokenizer_, model_.config().max_positions, dir_};
      const auto task = TaskRegistry::get().find(name)->make(input);
      const std::vector<Request> requests = task->requests();
      const std::optional<Generation> generation = task->generation();
      const std::vector<Batch> plan =
          generation ? plan_decoding(requests, generation) : plan_batches(requests);
      prepared += now() - begun;
      std::vector<Score> scores(requests.size());
      for (const Batch& batch : plan) {
        const std::vector<Score> part = generation ? decode_batch(model_, requests, batch, generation)
                                                   : score_batch(model_, requests, batch);
        for (size_t i = 0; i < part.size(); ++i) {
          generated += static_cast<int64_t>(part[i].generated.size());
          scores[static_cast<size_t>(batch.requests[i])] = part[i];
        }
        tokens += batch.tokens;
      }
      batches += static_cast<int64_t>(plan.size());
      for (const Metric& metric : task->metrics(scores)) metrics[name][metric.name] = metric.value;
      for (const Score& score : scores) values_.push_back(score.log_likelihood);
      for (const DocumentText& text : task->texts(scores)) texts_.push_back(text.text);
    }
    return {{"seconds", now() - start},
            {"cpu_seconds", cpu_seconds() - cpu_start},
            {"prepared", prepared},
            {"requests", values_.size()},
            {"batches", batches},
            {"tokens", tokens},
            {"metrics", metrics},
            {"generated", generated},
            {"peak_mib", peak_resident_bytes() >> 20}};
  }

  Json values() const { return {{"values", values_}, {"texts", texts_}}; }

 private:
  std::string dir_;
  DecoderModel model_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  EvaluationSpec spec_;
  std::vector<std::string> tasks_;
  std::vector<double> values_;
  Json texts_;
};

void run(const std::vector<std::string>& words) {
  if (words.size() < 8)
    throw UserError(
        "usage: task_speed MODEL_DIR DOCUMENTS SHOTS FEWSHOT_FILE|- LIMIT bfloat16|float32 THREADS TASK...");
  EvaluationSpec spec;
  spec.path = words[1];
  spec.shots = std::stoll(words[2]);
  if (words[3] != "-") spec.fewshot_path = words[3];
  spec.limit = std::stoll(words[4]);
  at::set_num_threads(std::stoi(words[6]));
  TaskSpeed speed(words[0], spec, words[5], {words.begin() + 7, words.end()});
  bench::serve({{"score", [&] { return speed.score(); }}, {"values", [&] { return speed.values(); }}});
}

}  // namespace

int main(int argc, char** argv) {
  ptq::use_huge_pages();  // as harness does
  return ptq::bench::guarded("task_speed", [&] { run({argv + 1, argv + argc}); });
}
