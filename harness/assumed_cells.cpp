#include "harness/assumed_cells.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "core/error.h"
#include "datasets/data_files.h"
#include "evaluators/windows.h"
#include "harness/spec_fits.h"
#include "results/cell_key.h"

namespace ptq {
namespace {

constexpr int64_t bytes_a_token = 4;    // of English text, by vocabularies of 32 to 128 thousand
constexpr int64_t batch_tokens = 2048;  // plan_batches' default

// Requests of one document: its choices.
int64_t requests_of(const std::string& task) {
  static const std::map<std::string, int64_t> known = {{"piqa", 2},
                                                       {"winogrande", 2},
                                                       {"boolq", 2},
                                                       {"rte", 2},
                                                       {"sglue_rte", 2},
                                                       {"lambada_openai", 1},
                                                       {"lambada_standard", 1},
                                                       {"wikitext", 1},
                                                       {"commonsense_qa", 5},
                                                       {"gsm8k", 1},
                                                       {"alpaca_eval", 1}};
  const auto found = known.find(task);
  return found == known.end() ? 4 : found->second;
}

int64_t bytes_of(const std::string& path) {
  int64_t bytes = 0;
  for (const std::string& file : DataFiles(path).paths)
    bytes += static_cast<int64_t>(std::filesystem::file_size(file));
  return bytes;
}

int64_t lines_of(const std::string& path) {
  int64_t lines = 0;
  for (const std::string& part : DataFiles(path).paths) {
    std::ifstream file(part);
    for (std::string line; std::getline(file, line);) lines += line.empty() ? 0 : 1;
  }
  return std::max<int64_t>(1, lines);
}

void assume_text(const EvaluationSpec& spec, PlannedCell& cell, PreparedEvaluation& evaluation,
                 std::set<std::string>& assumptions) {
  const int64_t bytes = bytes_of(spec.path);
  const int64_t tokens = std::max(spec.window, bytes / bytes_a_token);
  const auto windows = cut_windows(tokens, spec.window, spec.stride, spec.windows);
  if (spec.windows == 0 || static_cast<int64_t>(windows.size()) < spec.windows)
    assumptions.insert(spec.name + ": " + std::to_string(windows.size()) + " windows, as its text of " +
                       std::to_string(bytes) +
                       " bytes cannot be tokenized: " + std::to_string(bytes_a_token) + " bytes a token");
  for (const TokenWindow& window : windows) {
    const auto index = static_cast<int64_t>(evaluation.batches.size());
    evaluation.batches.push_back({.requests = {index}, .tokens = spec.window});
    cell.batches.push_back(
        {.tokens = spec.window, .longest = spec.window, .scored = spec.window - window.from});
  }
}

void assume_documents(const EvaluationSpec& spec, PlannedCell& cell, PreparedEvaluation& evaluation,
                      std::set<std::string>& assumptions) {
  const int64_t lines = lines_of(spec.path), documents = spec.limit > 0 ? std::min(spec.limit, lines) : lines;
  const int64_t bytes = bytes_of(spec.path);
  const int64_t question = std::max<int64_t>(8, bytes / lines / bytes_a_token),
                length = question * (1 + spec.shots);
  // Choices share their question and shots: a document is read once.
  const int64_t choices = requests_of(spec.task), scored = std::max<int64_t>(1, question / 4);
  assumptions.insert(spec.name + ": " + std::to_string(documents) + " documents of " +
                     std::to_string(length) + " tokens, " + std::to_string(choices) + " requests each with " +
                     std::to_string(scored) + " of them scored, as they cannot be tokenized");
  const int64_t at_once = std::max<int64_t>(1, batch_tokens / length);
  for (int64_t at = 0; at < documents; at += at_once) {
    const int64_t count = std::min(at_once, documents - at);
    Batch batch{.requests = {}, .tokens = count * length};
    for (int64_t i = at * choices; i < (at + count) * choices; ++i) batch.requests.push_back(i);
    evaluation.batches.push_back(std::move(batch));
    cell.batches.push_back({.tokens = count * length,
                            .longest = length,
                            .scored = std::min(count * length, count * choices * scored)});
  }
}

}  // namespace

bool has_weights(const std::string& model_dir) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(model_dir, error))
    if (entry.path().extension() == ".safetensors") return true;
  return false;
}

PlannedCell assume_cell(const Experiment& e, const Cell& cell, std::set<std::string>& assumptions) {
  const Position& p = cell.first;
  const EvaluationSpec& spec = e.evaluation[p.evaluation].spec;
  PlannedCell planned;
  planned.cell = cell;
  planned.label = cell_label(e, cell);
  planned.dir = e.models[p.model].dir;
  planned.memory_limit = e.memory_limit;
  planned.model = read_model_shape(planned.dir);
  planned.parameters = static_cast<int64_t>(planned.model.parameters());
  assumptions.insert(e.models[p.model].name + ": there are no weights; stored as " +
                     std::to_string(8 * planned.model.stored_bytes) + "-bit numbers");
  auto evaluation = std::make_shared<PreparedEvaluation>();
  evaluation->spec = spec;
  if (TaskRegistry::get().find(spec.task)->is_text) assume_text(spec, planned, *evaluation, assumptions);
  else assume_documents(spec, planned, *evaluation, assumptions);
  for (const Batch& batch : evaluation->batches) evaluation->tokens += batch.tokens;
  planned.evaluation = evaluation;
  planned.row.cell = cell.description;
  planned.row.key = unit_key("planned", cell.description, numerics(e.compute_dtype, e.threads), {});
  if (!p.method) return planned;
  const QuantSpec& quantization = e.quantization[*p.quantization];
  const Where where = {e.file, 0, "quantization '" + quantization.name + "'"};
  check_spec_fits(quantization, planned.model.config, where, "model " + planned.dir);
  check_method_fits(e.methods[*p.method], quantization, where);
  check_patterns_fit(e.methods[*p.method], planned.model.config, where, "model " + planned.dir);
  planned.quantize = quantize_description(e, cell);
  planned.row.quantize_key = unit_key("planned", planned.quantize, numerics("float32", e.threads), {});
  planned.artifact = planned.row.quantize_key;
  return planned;
}

}  // namespace ptq
