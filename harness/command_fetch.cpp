// fetch: data sets and models from a hub into the cache, where run and eval find them.
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "core/atomic_file.h"
#include "core/log.h"
#include "core/progress.h"
#include "datasets/data_files.h"
#include "datasets/rows.h"
#include "harness/cache_folder.h"
#include "harness/commands.h"
#include "harness/download.h"
#include "harness/fetch_plan.h"
#include "harness/signals.h"

namespace ptq {
namespace {

struct Options {
  std::vector<std::string> names, splits;
  std::string endpoint, revision, file, sha256;
};

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

Checksum given_checksum(const Options& o) {
  if (o.sha256.empty()) return {};
  if (o.file.empty()) throw UserError("--sha256 is one file's: say which with --file");
  std::string hex = o.sha256;
  for (char& c : hex) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const Checksum checksum = checksum_of_etag(hex);
  if (checksum.kind != Checksum::Kind::sha256) throw UserError("--sha256: 64 hexadecimal digits are wanted");
  return checksum;
}

// One text of a split's rows, as the papers read it.
void make_text(const FetchedSplit& split) {
  AtomicFile file(split.text_path);
  bool first = true;
  for (const JsonDocument& row : read_rows(DataFiles(split.paths).path())) {
    const auto found = row.value.find(split.text_field);
    if (found == row.value.end() || !found->is_string())
      throw UserError(Where{row.file, row.line, split.text_field}, "a string is needed here");
    const auto& text = found->get_ref<const std::string&>();
    if (!first) file.write(split.join.data(), split.join.size());
    file.write(text.data(), text.size());
    first = false;
  }
  file.commit();
}

// What an earlier fetch got as one file under the name of several would be found before them.
void warn_of_earlier(const FetchedSplit& split) {
  const auto name = numbered_name(split.paths[0]);
  if (!name || split.paths.size() == 1) return;
  for (const std::string& ending : data_endings())
    if (const std::string path = name->stem + ending;
        path != split.text_path && std::filesystem::exists(path))
      log_warning(path + " is there from before and is read instead of what came: remove it");
}

void fetch(const Hub& hub, const FetchPlan& plan) {
  std::vector<FetchItem> missing;
  int64_t bytes = 0;
  for (const FetchItem& item : plan.items) {
    if (is_downloaded(hub, item.file, item.path)) continue;
    missing.push_back(item);
    bytes += std::max<int64_t>(0, item.file.bytes - bytes_in_part(item.file, item.path));
  }
  log_info(plan.what + ": " + std::to_string(plan.items.size()) + " files, " +
           std::to_string(plan.items.size() - missing.size()) + " there, " + bytes_text(bytes) + " to get");
  if (!missing.empty()) {
    Progress progress(static_cast<double>(bytes), "fetch");
    int64_t come = 0, told = 0;
    for (const FetchItem& item : missing) {
      download(hub, item.file, item.path, [&](int64_t gained) {
        come += gained;  // what comes a second time is not told again
        if (come > told) progress.add(static_cast<double>(come - told), item.file.name);
        told = std::max(told, come);
      });
    }
    progress.finish();
  }
  for (const FetchedSplit& split : plan.splits) {
    const bool renewed = std::ranges::any_of(
        missing, [&](const auto& item) { return std::ranges::count(split.paths, item.path) > 0; });
    const bool text = !split.text_path.empty();
    if (text && (renewed || !std::filesystem::exists(split.text_path))) make_text(split);
    warn_of_earlier(split);
    for (const std::string& path : text ? std::vector{split.text_path} : split.paths)
      std::cout << path << "\n";
  }
  if (!plan.result.empty()) std::cout << plan.result << "\n";
}

int run(const Options& o) {
  const SignalGuard signals;
  try {
    const Checksum checksum = given_checksum(o);
    if (!o.file.empty() && o.names.size() > 1) throw UserError("--file is one repository's: give one name");
    const Hub hub({.endpoint = o.endpoint.empty() ? environment("HF_ENDPOINT") : o.endpoint,
                   .token = environment("HF_TOKEN"),
                   .stop = signalled});
    for (const std::string& name : o.names) {
      FetchPlan plan = plan_fetch(hub, {name, o.revision, o.splits, o.file}, cache_folder());
      if (checksum.kind != Checksum::Kind::none) {
        if (plan.items.size() > 1) throw UserError("--sha256 is one file's: --file names several");
        plan.items.at(0).file.checksum = checksum;
      }
      fetch(hub, plan);
    }
    return success;
  } catch (const Stopped&) {
    log_warning("interrupted; what came is kept, the same command goes on behind it");
    return interrupted_run;
  }
}

}  // namespace

Command add_fetch(CLI::App& program) {
  auto o = std::make_shared<Options>();
  CLI::App* app = program.add_subcommand("fetch",
                                         "Data sets and models from a hub into the cache (HARNESS_CACHE, "
                                         "else ~/.cache/harness), where run and eval "
                                         "find them. What was cut goes on where it ended. Environment: "
                                         "HF_ENDPOINT, the hub's address; HF_TOKEN, "
                                         "for what is not open to everyone");
  app->add_option("name", o->names,
                  "A data set that docs/experiments.md lists (piqa, wikitext2, c4), or a model: owner/name")
      ->required();
  app->add_option("--endpoint", o->endpoint, "The hub's address; default: HF_ENDPOINT");
  app->add_option("--revision", o->revision,
                  "Branch, tag or commit; a model's folder is then owner/name@revision");
  app->add_option("--split", o->splits, "Of a data set; default: those that experiments read");
  app->add_option("--file", o->file,
                  "This file of the repository, or those that match a glob, instead of those chosen by name");
  app->add_option("--sha256", o->sha256, "With --file: what it must hash to; default: what the hub says");
  return {app, [o](Communicator& comm) { return only_on_root(comm, [&] { return run(*o); }); }};
}

}  // namespace ptq
