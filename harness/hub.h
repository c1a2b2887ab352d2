// A hub of models and data sets as Hugging Face's is: what a repository holds, and its files' bytes. A token
// goes to the endpoint's own origin (scheme, host, port) only, never where a redirect leads elsewhere, and
// only over https or within this machine; it is in no message and no file.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "harness/checksum.h"
#include "harness/http.h"

namespace ptq {

struct Repository {
  bool dataset = false;
  std::string id;                 // "owner/name"
  std::string revision = "main";  // branch, tag or commit
};

struct Snapshot {
  Repository repository;           // its revision is the commit where the hub says which: files of one moment
  std::vector<std::string> files;  // paths, sorted
};

struct RemoteFile {
  std::string url, name;   // name: its path in the repository
  int64_t bytes = -1;      // -1: the hub does not say
  Checksum checksum;       // of its content
  std::string entity_tag;  // of the server that holds the bytes, for If-Range: strong, else ""
};

struct HubOptions {
  std::string endpoint;  // https://host, with a path or without
  std::string token;     // "" for none
  int tries = 5;         // of what fails and brings nothing new
  double wait = 1;       // seconds before the second try, doubled for each that follows
  std::function<bool()> stop = [] { return false; };
};

// Every member throws UserError, one line that says what to do (HTTP 401, 403, 404, ...), TransferError when
// the tries are spent, and Stopped.
class Hub {
 public:
  explicit Hub(HubOptions options);  // UserError: no endpoint, a token that is none
  const HubOptions& options() const { return options_; }

  // None when the hub has no such repository or no such revision of it.
  std::optional<Snapshot> find(const Repository& repository) const;
  // Length and checksum; no bytes are sent.
  RemoteFile look(const Repository& repository, const std::string& file) const;
  // One try of the bytes, with `headers` added. Redirects are followed; `body` gets the last answer's bytes.
  // 416 (nothing stands behind the range) is returned; other failures are thrown.
  HttpResponse read(const RemoteFile& file, const std::vector<std::string>& headers,
                    const std::function<void(const HttpResponse&, std::string_view)>& body) const;
  // `work` until it throws no TransferError; tries count from anew when `progress` gives a greater number.
  void with_tries(const std::function<void()>& work, const std::function<int64_t()>& progress) const;

 private:
  HttpResponse follow(HttpRequest request,
                      const std::function<void(const HttpResponse&, std::string_view)>& body) const;
  [[noreturn]] void refuse(const HttpResponse& response, const std::string& url) const;
  bool may_have_token(const std::string& url) const;

  HubOptions options_;
  UrlParts origin_;
};

}  // namespace ptq
