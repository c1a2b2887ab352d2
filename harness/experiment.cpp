#include "harness/experiment.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/bytes.h"
#include "datasets/calibration_preset.h"
#include "datasets/text.h"
#include "evaluators/chat_template.h"
#include "harness/data_paths.h"
#include "harness/experiment_parts.h"

namespace ptq {
namespace {

const std::vector<std::string> top_keys = {
    "title",   "models",        "calibration", "methods",  "quantization", "evaluation",
    "seeds",   "compute_dtype", "threads",     "device",   "memory_limit", "full_precision",
    "include", "exclude",       "table",       "expected", "datasets",     "profiles"};

// A profile replaces whole top-level keys.
void apply_profile(YamlDocument& document, const std::string& profile) {
  Json& root = document.value;
  if (root.contains("profiles")) {
    std::vector<std::string> replaceable = top_keys;
    replaceable.pop_back();
    for (const auto& [name, value] : root["profiles"].items())
      YamlMap(document, value, "profiles." + name, replaceable);
  }
  if (profile.empty()) return;
  std::vector<std::string> names;
  if (root.contains("profiles"))
    for (const auto& [name, value] : root["profiles"].items()) names.push_back(name);
  if (std::find(names.begin(), names.end(), profile) == names.end())
    throw UserError(document.where("profiles"),
                    names.empty() ? "there are no profiles, so none is called '" + profile + "'"
                                  : unknown_name_message("profile", profile, names));
  const Json chosen = root["profiles"][profile];
  for (const auto& [key, value] : chosen.items()) {
    root[key] = value;
    // Messages name the line in the profile.
    const std::string from = "profiles." + profile + "." + key;
    std::map<std::string, int> moved;
    for (auto it = document.lines.begin(); it != document.lines.end();)
      it = it->first == key || it->first.rfind(key + ".", 0) == 0 || it->first.rfind(key + "[", 0) == 0
               ? document.lines.erase(it)
               : std::next(it);
    for (const auto& [path, line] : document.lines)
      if (path.rfind(from, 0) == 0) moved[key + path.substr(from.size())] = line;
    document.lines.merge(moved);
  }
}

template <typename T, typename Name>
void refuse_equal_names(const YamlDocument& document, const std::string& axis, const std::vector<T>& values,
                        Name name_of) {
  std::set<std::string> seen;
  for (size_t i = 0; i < values.size(); ++i)
    if (!seen.insert(name_of(values[i])).second)
      throw UserError(document.where(axis + "[" + std::to_string(i) + "]"),
                      "two elements are called '" + name_of(values[i]) + "'; give one another name");
}

std::string name_of_path(const std::string& path) {
  const std::filesystem::path p(path);
  return p.filename().empty() ? p.parent_path().filename().string() : p.filename().string();
}

void read_models(const YamlDocument& document, const PathResolver& resolver, Experiment& e) {
  for (const auto& [path, value] : elements(document, "models")) {
    const Json map = value.is_string() ? Json{{"path", value}} : value;
    const YamlMap f(document, map, path, {"name", "path"});
    ModelSpec model;
    model.path = f.text("path");
    model.name = f.text("name", name_of_path(model.path));
    model.dir = resolver.model(f.path("path"), model.path);
    e.models.push_back(model);
  }
}

std::string chat_template_of(const YamlMap& f, const std::string& usual) {
  const std::string name = f.text("chat_template", usual);
  const auto templates = chat_template_choices();
  if (f.has("chat_template") && std::ranges::find(templates, name) == templates.end())
    f.fail("chat_template", unknown_name_message("chat template", name, templates));
  return name;
}

void read_calibration(const YamlDocument& document, const PathResolver& resolver, Experiment& e) {
  if (!document.value.contains("calibration")) return;
  for (const auto& [path, value] : elements(document, "calibration")) {
    const YamlMap f(document, value, path,
                    {"name", "corpus", "split", "preset", "samples", "length", "chat_template"});
    CalibrationEntry entry;
    entry.corpus = f.text("corpus");
    entry.split = f.text("split", "train");
    entry.spec.name = f.text("name", name_of_path(entry.corpus));
    entry.spec.preset = f.text("preset", entry.spec.preset);
    const auto presets = calibration_presets();
    if (std::find(presets.begin(), presets.end(), entry.spec.preset) == presets.end())
      f.fail("preset", unknown_name_message("preset", entry.spec.preset, presets));
    const CalibrationPreset& preset = *CalibrationPresets::get().find(entry.spec.preset);
    entry.spec.samples = f.integer("samples", preset.samples, 1, 1 << 24);
    entry.spec.length = f.integer("length", preset.length, 1, 1 << 24);
    if (f.has("chat_template") && !preset.reads_chat)
      f.fail("chat_template",
             "is not read by preset " + entry.spec.preset + ", whose documents are no conversations");
    if (preset.reads_chat) {
      entry.spec.chat_template = chat_template_of(f, "auto");
    }
    entry.spec.path = resolver.corpus(f.path("corpus"), entry.corpus, entry.split);
    e.calibration.push_back(entry);
  }
}

void read_methods(const YamlDocument& document, Experiment& e) {
  for (const auto& [path, value] : elements(document, "methods")) {
    const std::string where = path;
    const Json method = value;
    e.methods.push_back(located(document, [&] { return method_from_json(method, where); }));
  }
}

void read_quantization(const YamlDocument& document, Experiment& e) {
  for (const auto& [path, value] : elements(document, "quantization")) {
    const std::string where = path;
    const Json spec = value;
    e.quantization.push_back(located(document, [&] { return quant_spec_from_json(spec, where); }));
  }
}

void read_evaluation(const YamlDocument& document, const PathResolver& resolver, Experiment& e) {
  for (const auto& [path, value] : elements(document, "evaluation")) {
    const YamlMap f(document, value, path,
                    {"name", "task", "corpus", "documents", "split", "window", "stride", "windows",
                     "protocol", "limit", "shots", "fewshot", "chat_template", "fewshot_as_multiturn",
                     "max_tokens", "decode", "columns", "metric"});
    EvaluationEntry entry;
    EvaluationSpec& spec = entry.spec;
    spec.task = f.text("task");
    const TaskEntry* task = TaskRegistry::get().find(spec.task);
    if (!task) f.fail("task", unknown_name_message("task", spec.task, TaskRegistry::get().names()));
    auto refuse = [&](const std::vector<std::string>& keys, const std::string& reason) {
      for (const auto& key : keys)
        if (f.has(key)) f.fail(key, "is not read by " + spec.task + ": " + reason);
    };
    if (task->is_text) {
      refuse(
          {"documents", "limit", "shots", "fewshot", "chat_template", "fewshot_as_multiturn", "max_tokens"},
          "it scores windows of a text (corpus, window, stride, windows, protocol)");
      if (task->against_full_precision) refuse({"decode"}, "it reads windows in one pass");
      if (!task->reads_windows)
        refuse({"window", "stride", "windows", "protocol", "decode"}, "it reads the text whole");
      if (task->looks_inside) refuse({"stride"}, "no token of it is scored");
      if (!task->looks_inside || !task->reads_windows) refuse({"columns"}, "it looks at no layers");
      if (f.has("columns")) spec.columns = f.texts("columns");
      entry.source = f.text("corpus");
      entry.split = f.text("split", "test");
      spec.path = resolver.corpus(f.path("corpus"), entry.source, entry.split);
      spec.protocol = f.text("protocol", spec.protocol);
      spec.window = f.integer("window", spec.window, 2, 1 << 24);
      spec.stride = f.integer("stride", 0, 0, spec.window);
      spec.windows = f.integer("windows", 0, 0, int64_t{1} << 40);
      spec.decode = f.integer("decode", 0, 0, spec.window);
    } else {
      refuse({"corpus", "split", "window", "stride", "windows", "protocol", "decode", "columns"},
             "it scores documents (documents, limit, shots, fewshot, chat_template)");
      entry.source = f.text("documents");
      spec.path = resolver.documents(f.path("documents"), entry.source);
      spec.limit = f.integer("limit", 0, 0, int64_t{1} << 40);
      spec.shots = f.integer("shots", task->shots, 0, 1000);
      if (!task->generates) refuse({"max_tokens"}, "it generates nothing");
      spec.max_tokens = f.integer("max_tokens", 0, 0, 1 << 24);
      if (f.has("fewshot")) {
        entry.fewshot = f.text("fewshot");
        spec.fewshot_path = resolver.documents(f.path("fewshot"), entry.fewshot);
      }
      spec.chat_template = chat_template_of(f, "");
      if (f.has("fewshot_as_multiturn") && spec.chat_template.empty())
        f.fail("fewshot_as_multiturn", "is read with chat_template only");
      spec.fewshot_as_multiturn = f.boolean("fewshot_as_multiturn", true);
    }
    entry.metric = f.text("metric", task->main_metric);
    spec.name = f.text("name", task->is_text && value.at("corpus").is_string()
                                   ? spec.task + " " + name_of_path(entry.source)
                                   : spec.task);
    e.evaluation.push_back(entry);
  }
}

std::vector<Rule> read_rules(const YamlDocument& document, const Experiment& e, const std::string& key) {
  std::vector<Rule> rules;
  if (!document.value.contains(key)) return rules;
  for (const auto& [path, value] : elements(document, key))
    rules.push_back(read_rule(document, e, value, path, {}));
  return rules;
}

void read_run_options(const YamlDocument& document, Experiment& e) {
  const YamlMap f(document, document.value, "", top_keys);
  e.compute_dtype = f.text("compute_dtype", e.compute_dtype);
  if (e.compute_dtype != "float32" && e.compute_dtype != "bfloat16")
    f.fail("compute_dtype", "wanted float32 or bfloat16");
  e.threads = static_cast<int>(f.integer("threads", 1, 1, 1024));
  e.device = f.text("device", e.device);
  if (e.device != "cpu" && e.device != "cuda" && e.device != "auto")
    f.fail("device", "wanted cpu, cuda or auto (a GPU for each rank where there is one, else the processor)");
  if (f.has("memory_limit")) try {
      const Json& limit = f.at("memory_limit");
      e.memory_limit = parse_bytes(limit.is_string() ? limit.get<std::string>() : limit.dump());
    } catch (const UserError& error) {
      f.fail("memory_limit", error.message());
    }
  e.full_precision = f.boolean("full_precision", true);
  if (f.has("seeds")) {
    e.seeds.clear();
    for (const auto& [path, value] : elements(document, "seeds")) {
      if (!value.is_number_integer() || value < 0)
        throw UserError(document.where(path), "a seed is an integer of at least 0");
      e.seeds.push_back(value);
    }
  }
  for (const char* key : {"models", "evaluation"})
    if (!f.has(key))
      throw UserError({document.file, 0, ""},
                      std::string("'") + key + "' is missing: there is nothing to run");
  if (f.has("methods") != f.has("quantization"))
    f.fail(f.has("methods") ? "methods" : "quantization",
           "methods and quantization go together: one of them is missing");
  if (!f.has("methods") && !e.full_precision)
    f.fail("full_precision", "false leaves an empty grid: there are no methods");
}

}  // namespace

Experiment read_experiment(YamlDocument document, const ExperimentOptions& options) {
  YamlMap(document, document.value, "", top_keys);
  apply_profile(document, options.profile);
  for (const auto& assignment : options.assignments) apply_assignment(document.value, assignment);

  Experiment e;
  e.file = document.file;
  e.name = std::filesystem::path(document.file).stem().string();
  const PathResolver resolver = make_path_resolver(document);
  read_run_options(document, e);
  read_models(document, resolver, e);
  read_calibration(document, resolver, e);
  if (document.value.contains("methods")) {
    read_methods(document, e);
    read_quantization(document, e);
  }
  read_evaluation(document, resolver, e);
  refuse_equal_names(document, "models", e.models, [](const auto& x) { return x.name; });
  refuse_equal_names(document, "calibration", e.calibration, [](const auto& x) { return x.spec.name; });
  refuse_equal_names(document, "methods", e.methods, [](const auto& x) { return x.name; });
  refuse_equal_names(document, "quantization", e.quantization, [](const auto& x) { return x.name; });
  refuse_equal_names(document, "evaluation", e.evaluation, [](const auto& x) { return x.spec.name; });
  refuse_equal_names(document, "seeds", e.seeds, [](int64_t x) { return std::to_string(x); });
  for (size_t i = 0; i < e.methods.size(); ++i)
    if (e.methods[i].needs_calibration() && e.calibration.empty())
      throw UserError(document.where("methods[" + std::to_string(i) + "]"),
                      "'" + e.methods[i].name + "' needs calibration data: add calibration");
  for (size_t i = 0; i < e.quantization.size(); ++i)
    if (e.quantization[i].activations.fixed && e.calibration.empty())
      throw UserError(document.where("quantization[" + std::to_string(i) + "].activations"),
                      "static: true takes ranges from calibration data: add calibration");
  e.include = read_rules(document, e, "include");
  e.exclude = read_rules(document, e, "exclude");
  if (document.value.contains("title"))
    e.table.title = document.value["title"].is_string() ? document.value["title"].get<std::string>() : "";
  const std::string title = e.table.title;
  read_table(document, e);
  if (e.table.title.empty()) e.table.title = title;
  read_expected(document, e);
  document.value.erase("profiles");
  e.resolved = document.value;
  return e;
}

Experiment read_experiment(const std::string& file, const ExperimentOptions& options) {
  return read_experiment(parse_yaml(read_text(file), file), options);
}

}  // namespace ptq
