#include "harness/fetch_plan.h"

#include <fnmatch.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/json.h"
#include "datasets/data_files.h"

namespace ptq {
namespace fs = std::filesystem;
namespace {

constexpr const char* kParquetBranch = "refs/convert/parquet";
constexpr const char* kIndex = "model.safetensors.index.json";

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::ranges::binary_search(names, name);
}

std::string quoted(const Repository& repository) {
  return (repository.dataset ? "data set '" : "model '") + repository.id + "'";
}

Snapshot need(const Hub& hub, const Repository& repository) {
  if (auto snapshot = hub.find(repository)) return *std::move(snapshot);
  throw UserError(
      quoted(repository) + ": the hub has none of that name" +
      (repository.revision == "main" ? "" : ", or no revision '" + repository.revision + "' of it"));
}

std::string commit_text(const Snapshot& snapshot) {
  return quoted(snapshot.repository) + ", revision " + snapshot.repository.revision.substr(0, 12);
}

// "owner/name", each of letters, digits and "-._": it becomes a part of paths and addresses.
bool is_repository_id(const std::string& id) {
  const auto good = [](const std::string& part) {
    return !part.empty() && part[0] != '.' && part.find("..") == std::string::npos &&
           std::ranges::all_of(
               part, [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '.' || c == '_'; });
  };
  const size_t slash = id.find('/');
  return slash != std::string::npos && good(id.substr(0, slash)) && good(id.substr(slash + 1));
}

std::string read_small(const Hub& hub, const RemoteFile& file) {
  std::string text;
  hub.with_tries(
      [&] {
        text.clear();
        hub.read(file, {}, [&](const HttpResponse&, std::string_view bytes) {
          if (text.size() + bytes.size() > (size_t{64} << 20))
            throw UserError(Where{without_query(file.url), 0, ""}, "longer than 64 MiB");
          text += bytes;
        });
      },
      [] { return 0; });
  return text;
}

// The files that the index names, each once.
std::vector<std::string> shards(const Hub& hub, const Snapshot& snapshot) {
  const RemoteFile file = hub.look(snapshot.repository, kIndex);
  const auto fail = [&](const std::string& what) {
    throw UserError(Where{without_query(file.url), 0, ""}, what);
  };
  const Json index = Json::parse(read_small(hub, file), nullptr, false);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object())
    fail("no map under weight_map");
  std::set<std::string> names;
  for (const Json& name : index["weight_map"]) {
    if (!name.is_string() || !contains(snapshot.files, name.get<std::string>()))
      fail("names a shard that the hub has not: " + name.dump(-1, ' ', true, Json::error_handler_t::replace));
    names.insert(name.get<std::string>());
  }
  return {names.begin(), names.end()};
}

std::vector<std::string> model_files(const Hub& hub, const Snapshot& snapshot) {
  const auto has = [&](const char* name) { return contains(snapshot.files, name); };
  const auto fail = [&](const std::string& what) {
    throw UserError(quoted(snapshot.repository) + " " + what);
  };
  if (!has("config.json")) fail("has no config.json: is it a model?");
  if (!has("tokenizer.json") && !(has("vocab.json") && has("merges.txt")))
    fail("has neither tokenizer.json nor vocab.json and merges.txt");
  std::vector<std::string> files;
  for (const char* name :
       {"tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json",
        "added_tokens.json", "chat_template.jinja", "generation_config.json"})
    if (has(name)) files.push_back(name);
  if (has("model.safetensors")) {
    files.push_back("model.safetensors");
  } else if (has(kIndex)) {
    files.push_back(kIndex);
    for (const std::string& shard : shards(hub, snapshot)) files.push_back(shard);
  } else {
    fail("has no model.safetensors; other formats are not read");
  }
  files.push_back("config.json");
  return files;
}

FetchPlan plan_model(const Hub& hub, const FetchWish& wish, const std::string& cache) {
  if (!is_repository_id(wish.name))
    throw UserError("'" + wish.name + "' is no model of a hub: owner/name is wanted");
  if (!wish.splits.empty()) throw UserError("--split is for data sets; '" + wish.name + "' is a model");
  const Snapshot snapshot = need(hub, {false, wish.name, wish.revision.empty() ? "main" : wish.revision});
  const std::string folder =
      cache + "/models/" + wish.name + (wish.revision.empty() ? "" : "@" + url_escaped(wish.revision, false));
  FetchPlan plan{commit_text(snapshot), {}, {}, folder};
  for (const std::string& name : wish.file.empty() ? model_files(hub, snapshot) : std::vector{wish.file}) {
    const std::string plain = fs::path(name).filename().string();
    if (plain != name || plain[0] == '.')
      throw UserError(quoted(snapshot.repository) + ": a file beside config.json is wanted, not '" + name +
                      "'");
    plan.items.push_back({hub.look(snapshot.repository, name), folder + "/" + name});
  }
  return plan;
}

// Whether a path of a repository's own files speaks of that split, as a word, and lies in that folder.
bool is_of(const std::string& path, const std::string& config, const std::string& split) {
  if (!config.empty() && ("/" + path).find("/" + config + "/") == std::string::npos) return false;
  const auto bound = [&](size_t i) {
    return i >= path.size() || !std::isalnum(static_cast<unsigned char>(path[i]));
  };
  for (size_t at = 0; (at = path.find(split, at)) != std::string::npos; ++at)
    if ((at == 0 || bound(at - 1)) && bound(at + split.size())) return true;
  return false;
}

// `found` as the files of one split: one, or a numbered set that is whole.
std::vector<std::string> one_split(const Snapshot& snapshot, const std::vector<std::string>& found,
                                   const std::string& split) {
  const std::string start = quoted(snapshot.repository) + ": split '" + split + "' ";
  const auto first = found.empty() ? std::nullopt : numbered_name(found[0]);
  const bool one = found.size() == 1 || std::ranges::all_of(found, [&](const std::string& name) {
                     const auto number = numbered_name(name);
                     return first && number && number->same_set(*first);
                   });
  if (one && !found.empty()) {
    if (const std::string missing = missing_of_set(found); !missing.empty())
      throw UserError(start + "lacks its file " + missing + "; say which with --file");
    return found;
  }
  std::string text = start + (found.empty() ? "is not among its files" : "may be any of several files");
  for (size_t i = 0; i < std::min<size_t>(found.size(), 5); ++i) text += (i ? ", " : ": ") + found[i];
  throw UserError(text + "; say which with --file");
}

// In the Parquet branch files are <config>/<split>/0000.parquet, 0001.parquet, ...
std::vector<std::string> converted(const Snapshot& snapshot, std::string config, const std::string& split) {
  if (config.empty()) {
    std::set<std::string> configs;
    for (const std::string& name : snapshot.files)
      if (name.ends_with(".parquet")) configs.insert(name.substr(0, name.find('/')));
    config = configs.size() == 1 ? *configs.begin() : "default";
  }
  std::vector<std::string> found;
  for (const std::string& name : snapshot.files)
    if (name.starts_with(config + "/" + split + "/") && name.ends_with(".parquet")) found.push_back(name);
  return found;
}

struct Chosen {
  Repository repository;
  std::vector<std::string> files;
};

// The file, or those that match.
std::vector<std::string> named(const Snapshot& snapshot, const std::string& name, bool by_user) {
  if (contains(snapshot.files, name)) return {name};
  std::vector<std::string> found;
  for (const std::string& file : snapshot.files)
    if (::fnmatch(name.c_str(), file.c_str(), FNM_PATHNAME) == 0) found.push_back(file);
  if (found.empty())
    throw UserError(quoted(snapshot.repository) + " has no file '" + name + "'" +
                    (by_user ? "" : "; say which with --file"));
  return found;
}

Chosen choose(const Hub& hub, const KnownDataset& known, const FetchWish& wish, const std::string& split) {
  const Repository main{true, known.hub, wish.revision.empty() ? "main" : wish.revision};
  if (const std::string file = wish.file.empty() ? for_split(known.file, split) : wish.file; !file.empty()) {
    const Snapshot snapshot = need(hub, main);
    return {snapshot.repository, named(snapshot, file, !wish.file.empty())};
  }
  if (wish.revision.empty())
    if (const auto branch = hub.find({true, known.hub, kParquetBranch}))
      if (const auto found = converted(*branch, known.config, split); !found.empty())
        return {branch->repository, found};
  const Snapshot snapshot = need(hub, main);
  std::vector<std::string> found;
  for (const std::string& name : snapshot.files)
    if (!data_ending(name).empty() && is_of(name, known.config, split)) found.push_back(name);
  return {snapshot.repository, one_split(snapshot, found, split)};
}

// "<stem>.parquet", or the i-th of several.
std::string place_of(const std::string& stem, size_t i, size_t count, const std::string& kind) {
  if (count == 1) return stem + kind;
  return NumberedName{.stem = stem,
                      .before = "-",
                      .index = 0,
                      .count = static_cast<int64_t>(count),
                      .digits = 5,
                      .count_digits = 5,
                      .ending = kind}
      .of(static_cast<int64_t>(i));
}

FetchPlan plan_dataset(const Hub& hub, const KnownDataset& known, const FetchWish& wish,
                       const std::string& cache) {
  FetchPlan plan{quoted({true, known.hub}), {}, {}, ""};
  std::vector<std::string> splits = wish.splits.empty() ? known.splits : wish.splits;
  if (!wish.file.empty() && splits.size() > 1) {
    if (!wish.splits.empty()) throw UserError("--file is one split's; give one --split");
    splits.resize(1);
  }
  for (const std::string& split : splits) {
    if (split.empty() ||
        !std::ranges::all_of(split, [](unsigned char c) { return std::isalnum(c) || c == '_'; }))
      throw UserError("--split: '" + split + "' is no split's name");
    Chosen chosen = choose(hub, known, wish, split);
    std::ranges::sort(chosen.files, natural_less);
    const std::string kind = data_ending(chosen.files[0]),
                      stem = cache + "/datasets/" + fetched_place(known, split);
    FetchedSplit fetched;
    for (size_t i = 0; i < chosen.files.size(); ++i) {
      if (const std::string& file = chosen.files[i]; kind.empty() || data_ending(file) != kind)
        throw UserError(quoted(chosen.repository) + ": '" + file + "' is " +
                        (data_ending(file).empty()
                             ? "in no format that is read: .parquet, .jsonl, .json, .txt, "
                               "also with .gz or .zst"
                             : "in another format than '" + chosen.files[0] + "'"));
      fetched.paths.push_back(place_of(stem, i, chosen.files.size(), kind));
      plan.items.push_back({hub.look(chosen.repository, chosen.files[i]), fetched.paths.back()});
    }
    if (!known.text_field.empty() && !kind.starts_with(".txt")) {
      fetched.text_path = stem + ".txt";
      fetched.text_field = known.text_field;
      fetched.join = known.join;
    }
    plan.splits.push_back(std::move(fetched));
  }
  return plan;
}

}  // namespace

FetchPlan plan_fetch(const Hub& hub, const FetchWish& wish, const std::string& cache) {
  if (cache.empty())
    throw UserError(
        "no folder to fetch into: set HARNESS_CACHE (or HOME: ~/.cache/harness is the usual one)");
  if (const auto known = find_known_dataset(wish.name)) return plan_dataset(hub, *known, wish, cache);
  if (wish.name.find('/') != std::string::npos) return plan_model(hub, wish, cache);
  std::vector<std::string> names;
  for (const KnownDataset& known : known_datasets()) names.push_back(known.name);
  throw UserError(unknown_name_message("data set", wish.name, names) + "; a model is owner/name");
}

}  // namespace ptq
