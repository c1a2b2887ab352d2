// A hub of models and data sets (HttpServer) with the addresses, redirects and headers of Hugging Face's. A
// file whose name ends in .safetensors, .parquet or .gz is large: its bytes come from another server, under a
// SHA-256; others come from the hub itself, under their git blob hash.
#pragma once

#include <openssl/sha.h>

#include <atomic>
#include <map>
#include <string>

#include "core/json.h"
#include "core/sha256.h"
#include "tests/support/http_server.h"

namespace ptq::test {

inline std::string git_blob(const std::string& bytes) {
  const std::string whole = "blob " + std::to_string(bytes.size()) + '\0' + bytes;
  unsigned char digest[SHA_DIGEST_LENGTH];
  ::SHA1(reinterpret_cast<const unsigned char*>(whole.data()), whole.size(), digest);
  std::string hex;
  for (const unsigned char byte : digest) {
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 15];
  }
  return hex;
}

class FakeHub {
 public:
  // Keys: "models/owner/name/revision" or "datasets/...": file -> bytes. Set before the first request.
  std::map<std::string, std::map<std::string, std::string>> repositories;
  std::string token;                                   // asked for where it is set
  std::map<std::string, std::string> large_checksums;  // file -> what the hub claims instead of the truth
  std::atomic<size_t> cut{std::string::npos};          // bytes of a large file until the connection ends
  std::atomic<int> cuts{0};                            // how many answers are still cut
  std::function<void()> on_stored = [] {};             // when a large file is asked for
  std::atomic<bool> ranges{true};                      // whether the store knows ranges

  FakeHub()
      : store_([this](const ServedRequest& request) { return stored(request); }),
        hub_([this](const ServedRequest& request) { return answered(request); }) {}

  std::string url() const { return hub_.url(); }
  const HttpServer& hub() const { return hub_; }
  const HttpServer& store() const { return store_; }  // the other server

 private:
  static bool large(const std::string& name) {
    return name.ends_with(".safetensors") || name.ends_with(".parquet") || name.ends_with(".gz");
  }

  Reply answered(const ServedRequest& request) const {
    if (!token.empty()) {
      const auto given = request.headers.find("authorization");
      if (given == request.headers.end()) return {401, "", {{"X-Error-Message", "Access is restricted"}}};
      if (given->second != "Bearer " + token) return {403, ""};
    }
    for (const auto& [key, files] : repositories) {
      const size_t slash = key.rfind('/');
      const std::string id = key.substr(0, slash), commit = "c0ffee" + std::to_string(files.size());
      std::string revision = key.substr(slash + 1);
      if (request.path == "/api/" + id + "/revision/" + revision) return {200, listing(files, commit)};
      const std::string place =
          "/" + (id.starts_with("models/") ? id.substr(7) : id) + "/resolve/" + commit + "/";
      if (!request.path.starts_with(place)) continue;
      const auto file = files.find(request.path.substr(place.size()));
      if (file != files.end()) return given(file->first, file->second);
    }
    return {404, "", {{"X-Error-Message", "Not here"}}};
  }

  static std::string listing(const std::map<std::string, std::string>& files, const std::string& commit) {
    Json siblings = Json::array();
    for (const auto& [name, bytes] : files) siblings.push_back({{"rfilename", name}});
    return Json({{"sha", commit}, {"siblings", siblings}}).dump();
  }

  Reply given(const std::string& name, const std::string& bytes) const {
    if (!large(name)) return {200, bytes, {{"ETag", "\"" + git_blob(bytes) + "\""}}};
    const auto claimed = large_checksums.find(name);
    return {302,
            "",
            {{"Location", store_.url() + "/" + name + "?signature=secret"},
             {"X-Linked-Size", std::to_string(bytes.size())},
             {"X-Linked-ETag",
              "\"" + (claimed == large_checksums.end() ? sha256(bytes) : claimed->second) + "\""}}};
  }

  Reply stored(const ServedRequest& request) {
    const std::string name = request.path.substr(1, request.path.find('?') - 1);
    for (const auto& [key, files] : repositories) {
      const auto file = files.find(name);
      if (file == files.end()) continue;
      on_stored();
      Reply reply{200, file->second, {{"ETag", "\"of the store\""}}};
      const auto range = request.headers.find("range");
      if (range != request.headers.end() && ranges) {
        const size_t from = std::stoull(range->second.substr(6));
        reply.status = 206;
        reply.body = file->second.substr(from);
        reply.headers["Content-Range"] = "bytes " + std::to_string(from) + "-" +
                                         std::to_string(file->second.size() - 1) + "/" +
                                         std::to_string(file->second.size());
      }
      if (cuts > 0) {
        --cuts;
        reply.cut = cut;
      }
      return reply;
    }
    return {404, ""};
  }

  HttpServer store_, hub_;
};

}  // namespace ptq::test
