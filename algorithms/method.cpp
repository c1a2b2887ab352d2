#include "algorithms/method.h"

#include <algorithm>
#include <set>

#include "algorithms/allocation.h"
#include "core/error.h"
#include "models/dropped_block.h"

namespace ptq {
namespace {

const std::map<std::string, InputStream> streams = {{"full_precision", InputStream::full_precision},
                                                    {"quantized_prefix", InputStream::quantized_prefix}};

std::string stream_name(InputStream stream) {
  return stream == InputStream::full_precision ? "full_precision" : "quantized_prefix";
}

const StepEntry& step_entry(const std::string& name, const std::string& where_key) {
  const StepEntry* entry = StepRegistry::get().find(name);
  if (!entry)
    throw UserError({{}, 0, where_key}, unknown_name_message("step", name, StepRegistry::get().names()));
  return *entry;
}

const MethodPreset& preset_entry(const std::string& name, const std::string& where_key) {
  const MethodPreset* preset = MethodRegistry::get().find(name);
  if (!preset)
    throw UserError({{}, 0, where_key}, unknown_name_message("method", name, MethodRegistry::get().names()));
  return *preset;
}

// What each kind must not come after, and why.
void check_order(const std::string& before, StepKind earlier, const std::string& name, StepKind kind,
                 const std::string& where_key) {
  const auto refuse = [&](const std::string& reason) {
    throw UserError({{}, 0, where_key}, "'" + name + "' cannot follow '" + before + "': " + reason);
  };
  if (earlier == StepKind::round && kind == StepKind::round) refuse("a chain rounds once, and both round");
  if ((earlier == StepKind::round || earlier == StepKind::compensate) && kind == StepKind::range)
    refuse("the weights are rounded by then, a range must come before");
  if ((earlier == StepKind::round || earlier == StepKind::compensate) &&
      (kind == StepKind::transform || kind == StepKind::sparsify))
    refuse("the weights are rounded by then, and it changes them");
  if (earlier == StepKind::range && (kind == StepKind::transform || kind == StepKind::sparsify))
    refuse("it changes the weights that the range was fitted to");
  if (earlier == StepKind::compensate && kind == StepKind::round)
    refuse("there is no rounding error to compensate before rounding");
}

// The chain with a range and a rounding in it.
std::vector<std::string> complete_chain(std::vector<std::string> steps, const std::string& where_key) {
  if (steps.empty()) throw UserError({{}, 0, where_key}, "the chain is empty; allowed: one step or more");
  std::set<std::string> seen;
  bool range = false, round = false;
  for (size_t i = 0; i < steps.size(); ++i) {
    const std::string key = where_key + "[" + std::to_string(i) + "]";
    const StepKind kind = step_entry(steps[i], key).kind;
    if (!seen.insert(steps[i]).second)
      throw UserError({{}, 0, key}, "'" + steps[i] + "' is in the chain twice");
    for (size_t j = 0; j < i; ++j) check_order(steps[j], step_entry(steps[j], key).kind, steps[i], kind, key);
    range = range || kind == StepKind::range;
    round = round || kind == StepKind::round;
  }
  const auto first = [&](auto wanted) {
    return std::find_if(steps.begin(), steps.end(),
                        [&](const std::string& step) { return wanted(step_entry(step, where_key).kind); });
  };
  if (!round) steps.insert(first([](StepKind kind) { return kind == StepKind::compensate; }), "rtn");
  if (!range)
    steps.insert(first([](StepKind kind) { return kind == StepKind::round || kind == StepKind::compensate; }),
                 "minmax");
  return steps;
}

std::string text_of(const Json& value, const std::string& key) {
  if (!value.is_string() || value.get<std::string>().empty())
    throw UserError({{}, 0, key}, "must be text, not " + value.dump());
  return value.get<std::string>();
}

std::vector<std::string> step_names(const Json& value, const std::string& key) {
  if (!value.is_array()) throw UserError({{}, 0, key}, "must be a list of steps, not " + value.dump());
  std::vector<std::string> names;
  for (size_t i = 0; i < value.size(); ++i)
    names.push_back(text_of(value[i], key + "[" + std::to_string(i) + "]"));
  return names;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : "+") + name;
  return text;
}

}  // namespace

bool Method::needs_calibration() const {
  const auto made = make_steps();
  return std::any_of(made.begin(), made.end(), [](const auto& step) { return step->needs_calibration(); });
}

bool Method::draws() const {
  const auto made = make_steps();
  return std::any_of(made.begin(), made.end(), [](const auto& step) { return step->draws(); });
}

bool Method::reads_activations() const {
  const auto made = make_steps();
  return std::any_of(made.begin(), made.end(), [](const auto& step) { return step->reads_activations(); });
}

std::vector<std::unique_ptr<Step>> Method::make_steps() const {
  std::vector<std::unique_ptr<Step>> made;
  for (const StepConfig& config : steps) {  // options that a key leaves out come back here
    const StepEntry& entry = step_entry(config.step, config.step);
    made.push_back(entry.make(complete_options(entry.options, config.options, config.step), config.step));
  }
  return made;
}

Method method_from_json(const Json& value, const std::string& where_key) {
  const Json given = value.is_string() ? Json{{"preset", value}} : value;
  const auto path = [&](const std::string& name) {
    return value.is_string() ? where_key : where_key.empty() ? name : where_key + "." + name;
  };
  if (!given.is_object())
    throw UserError({{}, 0, where_key}, "must be a method's name or a mapping, not " + value.dump());

  Method method;
  if (given.contains("name")) method.name = text_of(given.at("name"), path("name"));
  std::vector<std::string> asked;
  if (given.contains("steps")) {
    if (given.contains("preset")) throw UserError({{}, 0, path("preset")}, "give preset or steps, not both");
    asked = step_names(given.at("steps"), path("steps"));
    if (method.name.empty()) method.name = joined(asked);
  } else {
    std::string preset = method.name;
    if (given.contains("preset")) preset = text_of(given.at("preset"), path("preset"));
    else if (preset.empty() || !MethodRegistry::get().find(preset))
      throw UserError(
          {{}, 0, where_key},
          "a method needs steps: [...] or preset: NAME when its name is not a preset's; allowed keys: name, "
          "preset, steps, input and the names of its steps; presets: " +
              [] {
                std::string names;
                for (const auto& name : MethodRegistry::get().names())
                  names += (names.empty() ? "" : ", ") + name;
                return names;
              }());
    const MethodPreset& entry = preset_entry(preset, path("preset"));
    asked = entry.steps;
    method.input = entry.input;
    if (method.name.empty()) method.name = preset;
  }
  const std::vector<std::string> chain = complete_chain(asked, path("steps"));

  std::vector<std::string> allowed = {"name", "preset", "steps", "input"};
  allowed.insert(allowed.end(), chain.begin(), chain.end());
  for (const auto& [name, ignored] : given.items()) {
    if (std::find(allowed.begin(), allowed.end(), name) != allowed.end()) continue;
    if (StepRegistry::get().find(name))
      throw UserError({{}, 0, path(name)}, "options of a step that is not in the chain " + joined(chain));
    throw UserError({{}, 0, path(name)}, unknown_name_message("key", name, allowed));
  }
  if (given.contains("input")) {
    const std::string input = text_of(given.at("input"), path("input"));
    const auto found = streams.find(input);
    if (found == streams.end())
      throw UserError({{}, 0, path("input")},
                      unknown_name_message("input", input, {"full_precision", "quantized_prefix"}));
    method.input = found->second;
  }
  for (const std::string& step : chain) {
    const StepEntry& entry = step_entry(step, path(step));
    const Json options = given.contains(step) ? given.at(step) : Json::object();
    method.steps.push_back({step, complete_options(entry.options, options, path(step))});
    entry.make(method.steps.back().options,
               path(step));  // refuses values out of range now, not in the middle of a run
  }
  return method;
}

bool reads_calibration(const Method& method, const QuantSpec& spec) {
  return method.needs_calibration() || spec.activations.fixed;
}

Json to_json(const Method& method, bool reads_calibration) {
  Json steps = Json::array();
  for (const StepConfig& config : method.steps) {
    Json options = config.options;
    for (const StepOption& option : step_entry(config.step, config.step).options)
      if (option.newer && options.value(option.name, option.default_value) == option.default_value)
        options.erase(option.name);
    steps.push_back({{"step", config.step}, {"options", options}});
  }
  Json value = {{"steps", steps}};
  if (reads_calibration || method.needs_calibration()) value["input"] = stream_name(method.input);
  return value;
}

void check_method_fits(const Method& method, const QuantSpec& spec, const Where& where) {
  std::vector<WeightSpec> all = {spec.weights};
  for (const WeightRule& rule : spec.layers) all.push_back(rule.weights);
  const auto steps = method.make_steps();
  if (spec.activations.outlier_threshold > 0)
    for (size_t i = 0; i < steps.size(); ++i)
      if ((steps[i]->kind() == StepKind::transform || steps[i]->kind() == StepKind::sparsify) &&
          steps[i]->changes_block())
        throw UserError(where, "method '" + method.name +
                                   "' cannot serve activations.outlier_threshold: outlier channels meet the "
                                   "checkpoint's weights in full precision, and the step '" +
                                   method.steps[i].step +
                                   "' makes other ones; leave the pair out with exclude");
  if (chooses_bits(method) && !spec.allocation.wanted())
    throw UserError(where,
                    "method '" + method.name + "' has the step '" + output_sensitivity_step +
                        "', and the quantization no allocation that it could choose bits for; leave the pair "
                        "out with exclude");
  for (const WeightSpec& weights : all)
    for (size_t i = 0; i < steps.size(); ++i)
      if (const std::string reason = steps[i]->refusal(weights); !reason.empty())
        throw UserError(where, "method '" + method.name + "' cannot quantize weights of format " +
                                   weights.format + ": " + method.steps[i].step + ": " + reason +
                                   "; leave the pair out with exclude");
}

void run_step(const Step& step, BlockTask& task) {
  if (step.kind() == StepKind::range) task.fit_group = nullptr;  // the last range step's rule holds
  if (step.kind() != StepKind::transform && !task.original)
    task.original = std::make_shared<const DecoderBlock>(task.block);
  step.run(task);
  if (step.changes_block()) task.shared = nullptr;
}

void quantize_block(const Method& method, BlockTask& task) {
  for (const auto& step : method.make_steps()) {
    run_step(*step, task);
    if (is_dropped(task.block)) return;
  }
  for (const Linear* linear : task.block.linears())
    PTQ_CHECK(linear->quantized != nullptr || !weights_of(task, *linear).quantized());
}

}  // namespace ptq
