// migrate, gc, verify: what is done with a finished database.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <map>
#include <optional>
#include <set>

#include "core/bytes.h"
#include "core/error.h"
#include "core/log.h"
#include "harness/commands.h"
#include "harness/run.h"
#include "harness/scratch_folder.h"
#include "results/migrate.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

int migrate(const std::string& database) {
  const int found = migrate_database(database);
  const int now = current_schema_version();
  std::cout << database
            << (found == now
                    ? ": schema version " + std::to_string(now) + ", nothing to do"
                    : ": schema version " + std::to_string(found) + " lifted to " + std::to_string(now))
            << "\n";
  return success;
}

int64_t bytes_of(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return static_cast<int64_t>(fs::file_size(path, error));
  int64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(path, error)) bytes += bytes_of(entry.path());
  return bytes;
}

// Removes from the artifacts folder what no run will read: files that no quantization of the database names,
// blocks of unfinished ones, and then the oldest artifacts, until the rest is at most max_bytes (< 0: no
// limit). What is removed can be computed again.
int gc(const std::string& database, int64_t max_bytes, bool dry_run) {
  const auto store = ResultStore::open(database, ResultStore::Mode::write);  // its lock: no run is at work
  std::set<std::string> named;
  for (const std::string& file : store->artifacts()) named.insert(file);
  struct Entry {
    fs::path path;
    int64_t bytes;
    fs::file_time_type time;
  };
  std::vector<Entry> kept;
  int64_t removed = 0, left = 0;
  const auto remove = [&](const fs::path& path, int64_t bytes, const std::string& why) {
    std::cout << path.string() << "  " << bytes << " bytes: " << why << "\n";
    removed += bytes;
    std::error_code error;
    if (!dry_run && fs::remove_all(path, error) == static_cast<uintmax_t>(-1))
      throw UserError({path.string(), 0, ""}, "cannot be removed: " + error.message());
  };
  const std::string folder = artifacts_folder(database);
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const int64_t bytes = bytes_of(entry.path());
    if (entry.path().extension() == ".parts") {
      remove(entry.path(), bytes, "blocks of an unfinished quantization");
    } else if (!named.count(entry.path().filename().string())) {
      remove(entry.path(), bytes, "no quantization of the database");
    } else {
      kept.push_back({entry.path(), bytes, entry.last_write_time()});
      left += bytes;
    }
  }
  std::sort(kept.begin(), kept.end(), [](const Entry& a, const Entry& b) { return a.time < b.time; });
  for (const Entry& entry : kept) {
    if (max_bytes < 0 || left <= max_bytes) break;
    remove(entry.path, entry.bytes, "the oldest");
    left -= entry.bytes;
  }
  std::cout << (dry_run ? "would remove " : "removed ") << removed << " bytes, " << left << " bytes stay in "
            << folder << "\n";
  return success;
}

struct Verification {
  std::string key;
  CellRow stored;
  std::string stored_digest;  // of the artifact; "" for full precision
  Experiment experiment;
  std::optional<ScratchFolder> scratch;
  std::unique_ptr<ResultStore> fresh;
  PreparedRunPtr prepared;
};

void find_stored(Verification& v, const std::string& database, const std::string& prefix) {
  const auto store = ResultStore::open(database, ResultStore::Mode::read);
  const Json known = store->describe_cell(prefix);
  v.key = known["key"];
  v.stored = *store->find_cell(v.key);
  if (v.stored.status != "done")
    throw UserError("cell " + v.key.substr(0, 12) + " failed: there is nothing to verify");
  if (const auto quantization = store->find_quantization(v.stored.quantize_key))
    v.stored_digest = quantization->artifact_digest;
  v.experiment = stored_experiment(*store, known);
}

// A run of the cell alone into a scratch database.
void prepare_verification(Verification& v, int ranks, int nodes, const RankDevice& device) {
  v.scratch.emplace();
  v.fresh = ResultStore::open(v.scratch->path() + "/cell.db", ResultStore::Mode::write);
  v.prepared = prepare_run(v.experiment, *v.fresh, v.scratch->path(), ranks, nodes, device, v.key);
}

std::string exact(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.17g", value);
  return text;
}

bool same_bits(double a, double b) { return std::memcmp(&a, &b, sizeof a) == 0; }

int compare(const Verification& v) {
  const auto again = v.fresh->find_cell(v.key);
  if (!again) return interrupted_run;
  if (again->status != "done") return cells_failed;  // its reason has been logged
  bool same = true;
  const auto differs = [&](const std::string& what, const std::string& stored, const std::string& now) {
    std::cout << what << ": stored " << stored << ", now " << now << "\n";
    same = false;
  };
  if (const auto quantization = v.fresh->find_quantization(v.stored.quantize_key)) {
    if (quantization->artifact_digest != v.stored_digest)
      differs("codes and grids", v.stored_digest, quantization->artifact_digest);
    else std::cout << "codes and grids: equal (" << v.stored_digest.substr(0, 16) << "...)\n";
  }
  for (size_t i = 0; i < v.stored.metrics.size(); ++i) {
    const MetricRow& a = v.stored.metrics[i];
    const MetricRow* b = i < again->metrics.size() ? &again->metrics[i] : nullptr;
    if (!b || a.name != b->name || !same_bits(a.value, b->value))
      differs(a.name, exact(a.value), b ? exact(b->value) : "nothing");
    else std::cout << a.name << ": equal (" << exact(a.value) << ")\n";
  }
  // What is stored must come again. (A database of an earlier version may lack scores that come now.)
  std::map<std::pair<std::string, int64_t>, double> scores;
  for (const DocumentScoreRow& row : again->documents) scores[{row.name, row.document}] = row.value;
  const bool other = !std::ranges::all_of(v.stored.documents, [&](const DocumentScoreRow& row) {
    const auto found = scores.find({row.name, row.document});
    return found != scores.end() && same_bits(row.value, found->second);
  });
  if (other) differs("document scores", std::to_string(v.stored.documents.size()), "others");
  else std::cout << "document scores: " << v.stored.documents.size() << " equal\n";
  const auto same_value = [](const LayerMetricRow& a, const LayerMetricRow& b) {
    return a.layer == b.layer && a.name == b.name && a.step == b.step && same_bits(a.value, b.value);
  };
  if (!std::ranges::equal(v.stored.layers, again->layers, same_value))
    differs("layer metrics", std::to_string(v.stored.layers.size()), "others");
  else if (!v.stored.layers.empty()) std::cout << "layer metrics: " << v.stored.layers.size() << " equal\n";
  std::cout << "cell " << v.key.substr(0, 12) << (same ? " verified: every bit is the same" : " DIFFERS")
            << "\n";
  return same ? success : cells_failed;
}

int verify(Communicator& comm, const std::string& database, const std::string& prefix) {
  Verification v;
  RankDevice device;
  int code = on_root(comm, [&] { find_stored(v, database, prefix); });
  if (code == success) code = on_device(comm, v.experiment.device, device);
  if (code != success) return code;
  const int nodes = count_nodes(comm);
  code = on_root(comm, [&] { prepare_verification(v, comm.size(), nodes, device); });
  if (code != success) return code;
  run_prepared(comm, v.prepared.get(), device, false);
  return only_on_root(comm, [&] { return compare(v); });
}

}  // namespace

Command add_migrate(CLI::App& program) {
  auto database = std::make_shared<std::string>();
  CLI::App* app = program.add_subcommand("migrate", "Lift a database of an older schema to this program's");
  app->add_option("--db", *database, "Result database")->required();
  return {app, [=](Communicator& comm) { return only_on_root(comm, [&] { return migrate(*database); }); }};
}

Command add_gc(CLI::App& program) {
  auto database = std::make_shared<std::string>(), limit = std::make_shared<std::string>();
  auto dry_run = std::make_shared<bool>(false);
  CLI::App* app = program.add_subcommand("gc", "Remove artifacts that no result needs any more");
  app->add_option("--db", *database, "Result database")->required();
  app->add_option("--max-size", *limit, "Then the oldest artifacts, until the rest is no larger (2GiB)");
  app->add_flag("--dry-run", *dry_run, "Only say what would go");
  return {app, [=](Communicator& comm) {
            return only_on_root(
                comm, [&] { return gc(*database, limit->empty() ? -1 : parse_bytes(*limit), *dry_run); });
          }};
}

Command add_verify(CLI::App& program) {
  auto database = std::make_shared<std::string>(), key = std::make_shared<std::string>();
  CLI::App* app = program.add_subcommand("verify", "Compute a stored cell again and compare every bit");
  app->add_option("--db", *database, "Result database")->required();
  app->add_option("cell", *key, "Beginning of the cell's key (harness show)")->required();
  return {app, [=](Communicator& comm) { return verify(comm, *database, *key); }};
}

}  // namespace ptq
