// list, show, tokenize: what there is, what is known, and the ids of a text.
#include <iostream>

#include "core/error.h"
#include "datasets/calibration_preset.h"
#include "datasets/text.h"
#include "harness/commands.h"
#include "harness/experiment.h"
#include "models/family.h"
#include "quant/format.h"
#include "reports/table.h"
#include "results/store.h"

namespace ptq {
namespace {

const char* kind_name(StepKind kind) {
  switch (kind) {
    case StepKind::transform:
      return "transform";
    case StepKind::range:
      return "range";
    case StepKind::round:
      return "round";
    case StepKind::compensate:
      return "compensate";
    case StepKind::sparsify:
      return "sparsify";
  }
  return "";
}

template <typename Entry>
void print_entries(const std::string& heading, const Registry<Entry>& registry) {
  std::cout << heading << "\n";
  for (const auto& name : registry.names())
    std::cout << "  " << name << ": " << registry.find(name)->help << "\n";
}

void print_steps() {
  std::cout << "steps of a method (methods: [{name: mine, steps: [...], <step>: {<option>: <value>}}])\n";
  for (const auto& name : StepRegistry::get().names()) {
    const StepEntry& entry = *StepRegistry::get().find(name);
    std::cout << "  " << name << " (" << kind_name(entry.kind) << "): " << entry.help << "\n";
    for (const StepOption& option : entry.options)
      std::cout << "      " << option.name << " = " << option.default_value.dump() << ": " << option.help
                << "\n";
  }
}

int list() {
  print_entries("methods", MethodRegistry::get());
  print_steps();
  print_entries("number formats (quantization: [{weights: {format: ...}, activations: {format: ...}}])",
                FormatRegistry::get());
  std::cout << "keys of a quantization\n";
  for (const std::string& line : quantization_help()) std::cout << "  " << line << "\n";
  print_entries("tasks (evaluation: [{task: ...}])", TaskRegistry::get());
  print_entries("calibration presets", CalibrationPresets::get());
  print_entries("report formats", RendererRegistry::get());
  std::cout << "model families\n ";
  for (const auto& name : FamilyRegistry::get().names()) std::cout << " " << name;
  std::cout << "\n";
  return success;
}

}  // namespace

Experiment stored_experiment(const ResultStore& store, const Json& cell) {
  YamlDocument document;
  document.file = cell["run"]["experiment"];
  document.value = store.resolved_experiment(cell["run"]["id"]);
  return read_experiment(std::move(document), {});
}

std::string chain_text(const Json& cell) {
  if (cell["method"].is_null()) return full_precision_name;
  const Json& quantization = cell["quantization"];
  const bool integers_alone = quantization.size() == 1 && quantization["weights"]["format"] == "int";
  std::string text = integers_alone ? quantization["weights"]["bits"].dump() + " bits:"
                                    : quant_spec_from_json(quantization, "quantization").name + ":";
  const char* join = " ";
  for (const Json& step : cell["method"]["steps"]) {
    text += join + step["step"].get<std::string>();
    join = " + ";
  }
  return text;
}

namespace {

int show(const std::string& database, const std::string& key) {
  const auto store = ResultStore::open(database, ResultStore::Mode::read);
  if (!key.empty()) {
    std::cout << store->describe_cell(key).dump(2) << "\n";
    return success;
  }
  for (const CellRow& row : store->cells()) {
    std::cout << row.key.substr(0, 12) << "  " << row.status << "  " << row.cell["model"].get<std::string>()
              << "  " << chain_text(row.cell) << "  " << row.cell["evaluation"]["task"].get<std::string>();
    for (const MetricRow& m : row.metrics) std::cout << "  " << m.name << "=" << shortest(m.value);
    if (row.status != "done") std::cout << "  " << row.error;
    std::cout << "\n";
  }
  return success;
}

// The ids of each line, by blanks; no special tokens. Lines end at \n only: other separators are text.
int tokenize(const std::string& dir, const std::string& file) {
  const auto tokenizer = Tokenizer::load(dir);
  const std::string text =
      file == "-" ? std::string(std::istreambuf_iterator<char>(std::cin), {}) : read_text(file);
  std::string out;
  for (size_t begin = 0;;) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const auto ids = tokenizer->encode(std::string_view(text).substr(begin, end - begin), false);
    for (size_t i = 0; i < ids.size(); ++i) out += (i ? " " : "") + std::to_string(ids[i]);
    out += '\n';
    if (end == text.size()) break;
    begin = end + 1;
  }
  std::cout << out;
  return success;
}

}  // namespace

Command add_list(CLI::App& program) {
  CLI::App* app = program.add_subcommand(
      "list", "Methods, steps with their options, tasks, presets, formats, model families");
  return {app, [](Communicator& comm) { return only_on_root(comm, list); }};
}

Command add_show(CLI::App& program) {
  auto database = std::make_shared<std::string>(), key = std::make_shared<std::string>();
  CLI::App* app = program.add_subcommand("show", "The cells of a database, or everything known of one");
  app->add_option("--db", *database, "Result database")->required();
  app->add_option("cell", *key, "Beginning of a cell's key");
  return {app, [=](Communicator& comm) { return only_on_root(comm, [&] { return show(*database, *key); }); }};
}

Command add_tokenize(CLI::App& program) {
  auto dir = std::make_shared<std::string>(), file = std::make_shared<std::string>("-");
  CLI::App* app =
      program.add_subcommand("tokenize", "The token ids of each line of a text, without special tokens");
  app->add_option("--model", *dir, "Folder with tokenizer.json, or vocab.json and merges.txt")->required();
  app->add_option("file", *file, "UTF-8 text; default standard input");
  return {app, [=](Communicator& comm) { return only_on_root(comm, [&] { return tokenize(*dir, *file); }); }};
}

}  // namespace ptq
