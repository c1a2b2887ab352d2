// analyze: LLMC's looks behind a table: how alike calibration and test texts are, and what a quantization did
// to a model's tensors and outputs.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <thread>

#include "core/error.h"
#include "datasets/calibration_preset.h"
#include "datasets/corpus.h"
#include "evaluators/model_analysis.h"
#include "evaluators/token_distribution.h"
#include "harness/commands.h"
#include "harness/experiment.h"
#include "harness/planner.h"
#include "harness/resources.h"
#include "harness/run.h"
#include "models/overlay.h"

namespace ptq {
namespace {

// The sequences that are looked at.
struct Sample {
  std::string preset = "windows";
  int64_t samples = 0, length = 0, seed = 0;

  void add_options(CLI::App* app) {
    app->add_option("--preset", preset, "How samples are cut: a calibration preset of `harness list`")
        ->capture_default_str();
    app->add_option("--samples", samples, "Default: as many as the preset's paper");
    app->add_option("--length", length, "Tokens of each; default: the preset's");
    app->add_option("--seed", seed, "Of presets that draw at random")->capture_default_str();
  }
  CalibrationSet cut(const std::string& path, const Tokenizer& tokenizer, const std::string& dir) const {
    const CalibrationPreset* known = CalibrationPresets::get().find(preset);
    CalibrationSpec spec;
    spec.path = path;
    spec.preset = preset;
    spec.samples = samples != 0 || !known ? samples : known->samples;
    spec.length = length != 0 || !known ? length : known->length;
    if (known && known->reads_chat) spec.chat_template = "auto";
    return calibration_set(spec, tokenizer, static_cast<uint64_t>(seed), dir);
  }
};

struct TokenOptions {
  std::string model, calibration, test;
  Sample sample;
  double smoothing = 1;
  bool json = false;
};

int analyze_tokens(const TokenOptions& o) {
  if (!(o.smoothing > 0)) throw UserError("--smoothing must be above 0: a token may be in one text only");
  const auto tokenizer = Tokenizer::load(o.model);
  TokenCounts calibration(tokenizer->vocab_size()), test(tokenizer->vocab_size());
  for (const auto& ids : o.sample.cut(o.calibration, *tokenizer, o.model).ids_NT) calibration.add(ids);
  test.add(tokenizer->encode(read_corpus(o.test), false));
  if (test.tokens() == 0) throw UserError({o.test, 0, ""}, "has no tokens");
  const Json result = {{"kl_calibration_test", token_divergence(calibration, test, o.smoothing)},
                       {"kl_test_calibration", token_divergence(test, calibration, o.smoothing)},
                       {"smoothing", o.smoothing},
                       {"calibration_tokens", calibration.tokens()},
                       {"calibration_distinct", calibration.distinct()},
                       {"test_tokens", test.tokens()},
                       {"test_distinct", test.distinct()},
                       {"test_unseen", unseen_share(test, calibration)}};
  if (o.json) {
    std::cout << result.dump(2) << "\n";
    return success;
  }
  std::cout << "KL(calibration || test) " << shortest(result["kl_calibration_test"]) << " nats\n"
            << "KL(test || calibration) " << shortest(result["kl_test_calibration"]) << " nats\n"
            << "calibration " << calibration.tokens() << " tokens, " << calibration.distinct()
            << " distinct\n"
            << "test " << test.tokens() << " tokens, " << test.distinct() << " distinct\n"
            << "test tokens that calibration lacks " << shortest(result["test_unseen"]) << "\n";
  return success;
}

struct ModelOptions {
  std::string model, database, cell, against, text, columns;
  Sample sample;
  int threads = 0;
  bool json = false;
};

// What a stored cell evaluated.
struct Analyzed {
  std::string dir, overlay;  // overlay "": full precision alone
  bool scaled = false;
};

Analyzed find_cell(const std::string& database, const std::string& key) {
  const auto store = ResultStore::open(database, ResultStore::Mode::read);
  const Json known = store->describe_cell(key);
  const CellRow row = *store->find_cell(known["key"]);
  const auto quantization = store->find_quantization(row.quantize_key);
  if (!quantization)
    throw UserError("cell " + row.key.substr(0, 12) +
                    " has no quantized model: it is full precision, or its quantization failed");
  const Experiment e = stored_experiment(*store, known);
  Analyzed result;
  for (const ModelSpec& model : e.models)
    if (model.path == row.cell["model"]) result.dir = model.dir;
  PTQ_CHECK(!result.dir.empty());
  result.overlay = (std::filesystem::path(artifacts_folder(database)) / quantization->artifact).string();
  if (!std::filesystem::exists(result.overlay))
    throw UserError({result.overlay, 0, ""}, "is not there any more: the cell's quantized model was removed");
  result.scaled = scales_weights(row.cell["method"]);
  return result;
}

double mean_of(const at::Tensor& values, double from, double to) {
  const auto n = static_cast<double>(values.size(0));
  const auto begin = static_cast<int64_t>(from * n), end = std::max(begin + 1, static_cast<int64_t>(to * n));
  return values.slice(0, begin, end).mean().item<double>();
}

Json to_json(const LinearAnalysis& linear, bool quantized, bool columns) {
  Json result = {{"linear", linear.name},
                 {"weight_kurtosis", linear.weight_kurtosis},
                 {"input_kurtosis", linear.input_kurtosis}};
  if (!quantized) return result;
  result.update({{"quantized_weight_kurtosis", linear.quantized_weight_kurtosis},
                 {"quantized_input_kurtosis", linear.quantized_input_kurtosis},
                 {"cosine", linear.cosine},
                 {"relative_error", linear.relative_error},
                 {"column_error", mean_of(linear.column_errors_I, 0, 1)}});
  for (int quarter = 0; quarter < 4; ++quarter)
    result["column_error_quarters"].push_back(
        mean_of(linear.column_errors_I, 0.25 * quarter, 0.25 * (quarter + 1)));
  if (columns) {
    const at::Tensor errors = linear.column_errors_I.contiguous();
    result["column_errors"] = std::vector<double>(errors.const_data_ptr<double>(),
                                                  errors.const_data_ptr<double>() + errors.numel());
  }
  return result;
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%12.5g", value);
  return text;
}

// Means over blocks of each kind of linear, as LLMC's tables; then the blocks.
void print_text(const std::vector<BlockAnalysis>& blocks, bool quantized) {
  std::vector<std::pair<const char*, std::function<double(const LinearAnalysis&)>>> columns = {
      {"K weight", [](const LinearAnalysis& l) { return l.weight_kurtosis; }},
      {"K input", [](const LinearAnalysis& l) { return l.input_kurtosis; }}};
  if (quantized) {
    columns.push_back({"K weight'", [](const LinearAnalysis& l) { return l.quantized_weight_kurtosis; }});
    columns.push_back({"K input'", [](const LinearAnalysis& l) { return l.quantized_input_kurtosis; }});
    columns.push_back({"cosine", [](const LinearAnalysis& l) { return l.cosine; }});
    columns.push_back({"rel. error", [](const LinearAnalysis& l) { return l.relative_error; }});
    columns.push_back(
        {"col. error", [](const LinearAnalysis& l) { return mean_of(l.column_errors_I, 0, 1); }});
  }
  std::printf("%-10s", "linear");
  for (const auto& [name, value] : columns) std::printf("%12s", name);
  std::printf("\n");
  constexpr size_t of_full_precision = 2;
  for (size_t l = 0; l < blocks.front().linears.size(); ++l) {
    std::printf("%-10s", linear_kind(blocks.front().linears[l].name).c_str());
    for (size_t c = 0; c < columns.size(); ++c) {
      double sum = 0, count = 0;
      for (const BlockAnalysis& block : blocks) {
        if (block.dropped && c >= of_full_precision) continue;
        sum += columns[c].second(block.linears[l]);
        ++count;
      }
      std::printf("%s", number(sum / count).c_str());
    }
    std::printf("\n");
  }
  if (quantized) {
    std::printf("\n%-10s%12s%12s\n", "block", "cosine", "rel. error");
    for (const BlockAnalysis& block : blocks)
      std::printf("%-10lld%s%s%s\n", static_cast<long long>(block.index), number(block.cosine).c_str(),
                  number(block.relative_error).c_str(), block.dropped ? "  dropped" : "");
  }
  std::fflush(stdout);
}

int analyze_model_command(const ModelOptions& o) {
  if (o.model.empty() == o.database.empty() || o.database.empty() != o.cell.empty())
    throw UserError("harness analyze model: give --db FILE and --cell KEY, or --model DIR alone");
  if (o.database.empty() && !o.against.empty())
    throw UserError("harness analyze model: --against needs --db");
  const Analyzed what = o.database.empty() ? Analyzed{o.model, "", false} : find_cell(o.database, o.cell);
  const Analyzed base = o.against.empty() ? Analyzed{what.dir, "", false} : find_cell(o.database, o.against);
  if (base.dir != what.dir) throw UserError("--against: a cell of another model, " + base.dir);
  const auto checkpoint = Checkpoint::open(what.dir);
  const auto tokenizer = Tokenizer::load(what.dir);
  const CalibrationSet set = o.sample.cut(o.text, *tokenizer, what.dir);
  at::set_num_threads(o.threads > 0 ? o.threads : static_cast<int>(std::thread::hardware_concurrency()));
  const auto overlay_of = [](const Analyzed& one) {
    return one.overlay.empty() ? nullptr : OverlayFile::open(one.overlay);
  };
  const DecoderModel full(checkpoint, at::kFloat, overlay_of(base));
  std::unique_ptr<DecoderModel> quantized;
  if (!what.overlay.empty())
    quantized = std::make_unique<DecoderModel>(checkpoint, at::kFloat, overlay_of(what));
  const auto blocks = analyze_model(full, quantized.get(), what.scaled && o.against.empty(), set.ids_NT);
  if (!o.columns.empty() && o.columns != "all") {
    std::vector<std::string> names;
    for (const BlockAnalysis& block : blocks)
      for (const LinearAnalysis& linear : block.linears) names.push_back(linear.name);
    if (std::ranges::find(names, o.columns) == names.end())
      throw UserError("--columns: the model has no linear '" + o.columns +
                      "'; nearest: " + nearest_name(o.columns, names));
  }
  if (!o.json) {
    print_text(blocks, quantized != nullptr);
    return success;
  }
  Json result = {{"model", what.dir},
                 {"tokens", set.ids_NT.size() * set.ids_NT.front().size()},
                 {"text_digest", set.digest}};
  for (const BlockAnalysis& block : blocks) {
    Json one = {{"block", block.index}};
    if (quantized) one.update({{"cosine", block.cosine}, {"relative_error", block.relative_error}});
    if (block.dropped) one["dropped"] = true;
    for (const LinearAnalysis& linear : block.linears)
      one["linears"].push_back(
          to_json(linear, quantized && !block.dropped, o.columns == "all" || o.columns == linear.name));
    result["blocks"].push_back(std::move(one));
  }
  std::cout << result.dump(2) << "\n";
  return success;
}

}  // namespace

Command add_analyze(CLI::App& program) {
  CLI::App* app =
      program.add_subcommand("analyze", "Calibration against test tokens; a quantized model's insides");
  app->require_subcommand(1);

  auto t = std::make_shared<TokenOptions>();
  CLI::App* tokens =
      app->add_subcommand("tokens", "KL divergence between calibration and test token frequencies");
  tokens->add_option("--model", t->model, "Folder with a tokenizer")->required();
  tokens->add_option("--calibration", t->calibration, "Text that calibration samples are cut from")
      ->required();
  t->sample.add_options(tokens);
  tokens->add_option("--test", t->test, "Test text, read whole")->required();
  tokens->add_option("--smoothing", t->smoothing, "Added to every token's count")->capture_default_str();
  tokens->add_flag("--json", t->json, "Print JSON");

  auto m = std::make_shared<ModelOptions>();
  m->sample.samples = 8;
  m->sample.length = 512;
  CLI::App* model = app->add_subcommand(
      "model", "Kurtosis of weights and inputs; outputs and weight columns against full precision");
  model->add_option("--db", m->database, "Result database");
  model->add_option("--cell", m->cell, "Beginning of the key of a quantized cell (harness show)");
  model->add_option("--against", m->against,
                    "A cell in place of full precision: one with the same transforms and unrounded weights");
  model->add_option("--model", m->model, "Instead of a cell: a model folder, in full precision alone");
  model->add_option("--text", m->text, "Text that the models read")->required();
  m->sample.add_options(model);
  model->add_option("--columns", m->columns,
                    "With --json: errors of every column of this linear, or of `all`");
  model->add_option("--threads", m->threads, "Default: all cores");
  model->add_flag("--json", m->json, "Print JSON: every linear of every block");
  return {app, [=](Communicator& comm) {
            return only_on_root(
                comm, [&] { return tokens->parsed() ? analyze_tokens(*t) : analyze_model_command(*m); });
          }};
}

}  // namespace ptq
