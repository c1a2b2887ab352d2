// Checkpoint::digest and its cache.
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "core/atomic_file.h"
#include "core/error.h"
#include "core/log.h"
#include "core/machine.h"
#include "core/sha256.h"
#include "models/checkpoint.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

bool is_digest(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// The file holds the key, so that a cut or foreign file is no hit: "<key><digest>\n".
std::string read_cached(const std::string& file, const std::string& key) {
  std::ifstream in(file, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(in), {});
  if (text.size() != key.size() + 65 || text.compare(0, key.size(), key) != 0) return "";
  const std::string digest = text.substr(key.size(), 64);
  return is_digest(digest) ? digest : "";
}

void write_cached(const std::string& folder, const std::string& file, const std::string& key,
                  const std::string& digest) {
  try {
    fs::create_directories(folder);
    AtomicFile out(file);
    const std::string text = key + digest + "\n";
    out.write(text.data(), text.size());
    out.commit();
  } catch (const UserError& error) {  // the digest is right without a cache, only slower the next time
    log_debug(std::string("digest not cached: ") + error.what());
  } catch (const fs::filesystem_error& error) {
    log_debug(std::string("digest not cached: ") + error.what());
  }
}

bool is_settled(const FileStamp& stamp) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return stamp.modified_ns + 2'000'000'000LL <
         std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

}  // namespace

std::string Checkpoint::digest_cache_key() const {
  std::string key = "harness checkpoint digest 1\n" + sha256(config_text_) + "\n";
  for (const auto& shard : shards_) {
    const FileStamp& stamp = shard->stamp();
    std::error_code error;
    const std::string path = fs::canonical(shard->path(), error).string();
    key += (error ? shard->path() : path) + " " + std::to_string(stamp.size) + " " +
           std::to_string(stamp.inode) + " " + std::to_string(stamp.modified_ns) + "\n";
  }
  return key;
}

std::string Checkpoint::digest() const {
  const std::string folder = user_cache_folder(), key = digest_cache_key();
  const std::string file = folder + "/" + sha256(key);
  if (!folder.empty()) {
    const std::string cached = read_cached(file, key);
    if (!cached.empty()) return cached;
  }
  Sha256 hash;
  const auto add = [&](const std::string& name, std::string_view bytes) {
    hash.update(name + "\n" + std::to_string(bytes.size()) + "\n").update(bytes);
  };
  add("config.json", config_text_);
  for (size_t i = 0; i < shards_.size(); ++i) {
    const std::string_view bytes = shards_[i]->bytes();
    add(files_[i], bytes);
    drop_mapped_pages(bytes.data(), bytes.size());
  }
  const std::string digest = hash.hex();
  bool settled = !folder.empty();
  for (const auto& shard : shards_)
    settled = settled && is_settled(shard->stamp()) && file_stamp(shard->path()) == shard->stamp();
  if (settled) write_cached(folder, file, key, digest);
  return digest;
}

}  // namespace ptq
