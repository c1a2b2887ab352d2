// eval: one cell without a YAML, on the same path as `run`, with a database that is thrown away.
#include <stdlib.h>

#include <filesystem>
#include <iostream>
#include <thread>

#include "harness/commands.h"
#include "harness/run.h"
#include "harness/scratch_folder.h"

namespace ptq {
namespace {

struct Options {
  std::string model, method, calibration, text, task, data, fewshot, chat_template;
  std::string dtype = "float32", device = "cpu", preset = "windows", protocol = "windows";
  int64_t samples = 0, length = 0, seed = 0;
  int64_t window = 2048, windows = 0, stride = 0, decode = 0, limit = 0, shots = -1, max_tokens = 0;
  int threads = 0;
  bool json = false, progress = false, singleturn = false;
  std::vector<std::string> assignments;
};

// The experiment of one cell that the options say.
Experiment make_experiment(const Options& o, int threads) {
  YamlDocument document;
  document.file = "harness eval";
  Json& e = document.value;
  e["models"] = {{{"path", o.model}}};
  e["compute_dtype"] = o.dtype;
  e["threads"] = threads;
  e["device"] = o.device;
  e["seeds"] = {o.seed};
  if (!o.method.empty()) {
    e["methods"] = {o.method};
    e["quantization"] = {{{"name", "spec"}, {"weights", Json::object()}}};
    e["full_precision"] = false;
  }
  if (!o.calibration.empty()) {
    Json calibration = {{"corpus", o.calibration}, {"preset", o.preset}};
    if (o.samples != 0) calibration["samples"] = o.samples;
    if (o.length != 0) calibration["length"] = o.length;
    e["calibration"] = Json::array({calibration});
  }
  Json evaluation;
  if (!o.text.empty()) {
    evaluation = {{"task", o.task.empty() ? "perplexity" : o.task},
                  {"corpus", o.text},
                  {"window", o.window},
                  {"windows", o.windows},
                  {"stride", o.stride},
                  {"protocol", o.protocol}};
    if (o.decode != 0) evaluation["decode"] = o.decode;
  } else {
    evaluation = {{"task", o.task}, {"documents", o.data}, {"limit", o.limit}};
    if (o.shots >= 0) evaluation["shots"] = o.shots;
    if (o.max_tokens > 0) evaluation["max_tokens"] = o.max_tokens;
    if (!o.fewshot.empty()) evaluation["fewshot"] = o.fewshot;
  }
  if (!o.chat_template.empty())
    evaluation.update({{"chat_template", o.chat_template}, {"fewshot_as_multiturn", !o.singleturn}});
  e["evaluation"] = {evaluation};
  return read_experiment(std::move(document), {.profile = "", .assignments = o.assignments});
}

Json describe_result(const ResultStore& store, const CellRow& row, int64_t tokens) {
  Json out = {{"model", row.cell["model"]},
              {"method", row.cell["method"]},
              {"quantization", row.cell["quantization"]},
              {"calibration", row.cell["calibration"]},
              {"evaluation", row.cell["evaluation"]},
              {"compute_dtype", row.cell["compute_dtype"]},
              {"threads", row.cell["threads"]},
              {"average_bits", row.average_bits},
              {"seconds", row.seconds},
              {"tokens", tokens},
              {"peak_memory_bytes", row.peak_memory_bytes},
              {"digests",
               {{"checkpoint", row.checkpoint_digest},
                {"calibration", row.calibration_digest},
                {"evaluation", row.evaluation_digest}}}};
  for (const MetricRow& m : row.metrics) {
    out["metrics"][m.name] = m.value;
    if (m.stderr_ >= 0) out["metrics"][m.name + "_stderr"] = m.stderr_;
    out["metrics"][m.name + "_count"] = m.count;
  }
  if (const auto quantization = store.find_quantization(row.quantize_key)) {
    out["quantization_seconds"] = quantization->seconds;
    out["digests"]["codes"] = quantization->artifact_digest;
  }
  return out;
}

void print_text(const Json& result) {
  for (const auto& [name, value] : result["metrics"].items())
    std::cout << name << " " << shortest(value) << "\n";
  std::cout << "average_bits " << shortest(result["average_bits"]) << "\n"
            << "tokens " << result["tokens"] << "\nseconds " << shortest(result["seconds"]) << "\n";
}

int eval(Communicator& comm, const Options& o) {
  std::optional<ScratchFolder> scratch;
  std::unique_ptr<ResultStore> store;
  PreparedRunPtr prepared;
  Experiment experiment;
  RankDevice device;
  int code = on_root(comm, [&] {
    if (o.text.empty() == o.data.empty() || (o.text.empty() && o.task.empty()))
      throw UserError(
          "harness eval: give either --text FILE (perplexity, or a --task of texts) or --task NAME --data "
          "FILE");
    if (o.method.empty() && !o.calibration.empty())
      throw UserError("harness eval: --calibration is read with --method only");
    const int cores = static_cast<int>(std::thread::hardware_concurrency());
    experiment = make_experiment(o, o.threads > 0 ? o.threads : std::max(1, cores / comm.size()));
  });
  if (code == success) code = on_device(comm, experiment.device, device);
  if (code != success) return code;
  const int nodes = count_nodes(comm);
  code = on_root(comm, [&] {
    scratch.emplace();
    store = ResultStore::open(scratch->path() + "/cell.db", ResultStore::Mode::write);
    prepared = prepare_run(experiment, *store, scratch->path(), comm.size(), nodes, device);
  });
  if (code != success) return code;
  run_prepared(comm, prepared.get(), device, o.progress);

  return only_on_root(comm, [&]() -> int {
    const auto rows = store->cells();
    if (rows.empty()) return interrupted_run;
    if (rows[0].status != "done") return cells_failed;  // its reason has been logged
    Json result = describe_result(*store, rows[0], evaluation_tokens(*prepared));
    result["device"] = device.gpu.empty() ? "cpu" : device.gpu;
    if (o.json) std::cout << result.dump(2) << "\n";
    else print_text(result);
    return success;
  });
}

}  // namespace

Command add_eval(CLI::App& program) {
  auto o = std::make_shared<Options>();
  CLI::App* app =
      program.add_subcommand("eval", "Evaluate one model, quantized or not, and print its numbers");
  app->add_option("--model", o->model,
                  "Model folder (config.json, *.safetensors, tokenizer.json), or owner/name as fetched")
      ->required();
  app->add_option("--method", o->method,
                  "Quantize first: a method of `harness list`; default: full precision");
  app->add_option("--set", o->assignments,
                  "key=value as in an experiment: quantization.weights.bits=3, methods.gptq.act_order=true")
      ->allow_extra_args(false);
  app->add_option("--calibration", o->calibration, "Text that the method reads");
  app->add_option("--preset", o->preset, "How samples are cut from it")->capture_default_str();
  app->add_option("--samples", o->samples, "Calibration sequences; 0: as many as the preset's paper")
      ->capture_default_str();
  app->add_option("--length", o->length, "Tokens of each; 0: as many as the preset's paper")
      ->capture_default_str();
  app->add_option("--seed", o->seed, "Of presets that draw at random")->capture_default_str();
  app->add_option("--text", o->text, "Perplexity of this text: one token stream, no BOS");
  app->add_option("--window", o->window, "Tokens of a window")->capture_default_str();
  app->add_option("--windows", o->windows, "At most so many windows; 0: all")->capture_default_str();
  app->add_option("--stride", o->stride, "Tokens from one window's start to the next; 0: the window")
      ->capture_default_str();
  app->add_option("--protocol", o->protocol, "Perplexity protocol: windows, or papers (one BOS at the start)")
      ->capture_default_str();
  app->add_option("--decode", o->decode,
                  "Tokens at the end of each window that go one at a time through the KV cache")
      ->capture_default_str();
  app->add_option("--task", o->task, "A task of `harness list`; with --text one of texts, as kl_divergence");
  app->add_option("--data", o->data, "Its documents: JSON lines or Parquet");
  app->add_option("--limit", o->limit, "First documents only; 0: all")->capture_default_str();
  app->add_option("--shots", o->shots,
                  "Solved examples before each question; default: the task's, mostly none");
  app->add_option("--max-tokens", o->max_tokens, "Of an answer, where a task generates; default: the task's");
  app->add_option("--fewshot", o->fewshot, "Documents that examples are drawn from; default: --data");
  app->add_option("--chat-template", o->chat_template,
                  "auto: the checkpoint's own chat template; or a name, for a checkpoint without one");
  app->add_flag("--fewshot-as-one-turn", o->singleturn,
                "With --chat-template: examples and question in one message instead of turns")
      ->needs("--chat-template");
  app->add_option("--dtype", o->dtype, "float32 or bfloat16")->capture_default_str();
  app->add_option("--device", o->device, "cpu, cuda (one GPU a rank) or auto")->capture_default_str();
  app->add_option("--threads", o->threads, "Threads a rank; default: all cores");
  app->add_flag("--progress", o->progress, "Show progress");
  app->add_flag("--json", o->json, "Print JSON");
  return {app, [o](Communicator& comm) { return eval(comm, *o); }};
}

}  // namespace ptq
