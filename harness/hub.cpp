#include "harness/hub.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "core/json.h"
#include "core/log.h"

namespace ptq {
namespace {

constexpr int kRedirects = 10;
constexpr size_t kListing = size_t{256} << 20;  // bytes: more is no listing

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}
bool is_success(int status) { return status >= 200 && status < 300; }

int64_t length_of(const HttpResponse& response, const char* header) {
  const std::string text = response.header(header);
  return text.empty() || text.size() > 18 || text.find_first_not_of("0123456789") != std::string::npos
             ? -1
             : std::stoll(text);
}

// A hub's own words, fit for one line of a message.
std::string said(const HttpResponse& response) {
  std::string text = response.header("x-error-message").substr(0, 200);
  std::ranges::replace_if(
      text, [](unsigned char c) { return c < 32 || c > 126; }, ' ');
  return text.empty() ? "" : "; it says: " + text;
}

std::vector<std::string> file_names(const Json& listing, const std::string& url) {
  std::vector<std::string> names;
  const auto siblings = listing.find("siblings");
  if (siblings == listing.end() || !siblings->is_array())
    throw UserError(Where{url, 0, ""}, "the answer lists no files: is HF_ENDPOINT a hub's address?");
  for (const Json& file : *siblings)
    if (file.is_object() && file.contains("rfilename") && file["rfilename"].is_string())
      names.push_back(file["rfilename"]);
  std::ranges::sort(names);
  return names;
}

}  // namespace

Hub::Hub(HubOptions options) : options_(std::move(options)) {
  std::string& endpoint = options_.endpoint;
  while (endpoint.ends_with('/')) endpoint.pop_back();
  if (endpoint.empty())
    throw UserError(
        "HF_ENDPOINT is not set: set it, or --endpoint, to the address (https://...) of the hub or of a "
        "mirror");
  origin_ = url_parts(endpoint);
  if (std::ranges::any_of(options_.token, [](unsigned char c) { return c <= 32 || c > 126; }))
    throw UserError(
        "HF_TOKEN: not a token: it holds a blank, a line end or another character that no token has");
  if (!options_.token.empty() && !may_have_token(endpoint))
    log_warning("HF_TOKEN is not sent to " + without_query(endpoint) + ": it goes over https only");
}

bool Hub::may_have_token(const std::string& url) const {
  const UrlParts parts = url_parts(url);
  return parts == origin_ && (parts.scheme == "https" || is_this_machine(parts));
}

void Hub::refuse(const HttpResponse& response, const std::string& url) const {
  const std::string status = "HTTP " + std::to_string(response.status);
  const Where where{without_query(url), 0, ""};
  const bool token = !options_.token.empty() && may_have_token(url);
  if (response.status == 401)
    throw UserError(where,
                    status + ": " +
                        (token ? "HF_TOKEN is not accepted here, or there is no such repository"
                               : "not open to everyone, or there is no such repository: set HF_TOKEN to a "
                                 "token that may read it") +
                        said(response));
  if (response.status == 403)
    throw UserError(
        where, status + ": " +
                   (token ? "HF_TOKEN may not read this: has its owner accepted the terms on the hub's page?"
                          : "this needs a token: set HF_TOKEN") +
                   said(response));
  if (response.status == 404) throw UserError(where, status + ": the hub has no such file" + said(response));
  if (response.status == 408 || response.status == 429 || response.status >= 500)
    throw TransferError(where, status + ": the server cannot answer now" + said(response));
  throw UserError(where, status + said(response));
}

HttpResponse Hub::follow(HttpRequest request,
                         const std::function<void(const HttpResponse&, std::string_view)>& body) const {
  for (int i = 0; i <= kRedirects; ++i) {
    request.bearer = may_have_token(request.url) ? options_.token : "";
    const HttpResponse response = http_exchange(
        request,
        [&](const HttpResponse& so_far, std::string_view bytes) {
          if (is_success(so_far.status)) body(so_far, bytes);
        },
        options_.stop);
    // The hub names a large file's content where it sends on to the server that holds it.
    const bool known = request.head && !response.header("x-linked-etag").empty();
    if (!is_redirect(response.status) || known) {
      if (response.status >= 400 && response.status != 416) refuse(response, request.url);
      return response;
    }
    const std::string next = redirected(request.url, response.header("location"));
    if (url_parts(request.url).scheme == "https" && url_parts(next).scheme != "https")
      throw UserError(Where{without_query(request.url), 0, ""}, "redirects from https to http: not followed");
    request.url = next;
  }
  throw UserError(Where{without_query(request.url), 0, ""},
                  "more than " + std::to_string(kRedirects) + " redirects");
}

void Hub::with_tries(const std::function<void()>& work, const std::function<int64_t()>& progress) const {
  int64_t before = progress();
  double wait = options_.wait;
  for (int tries = 1;; ++tries) {
    try {
      return work();
    } catch (const TransferError& error) {
      if (const int64_t now = progress(); now > before) {
        before = now;
        tries = 1;
        wait = options_.wait;
      }
      if (tries >= options_.tries) throw;
      log_warning(std::string(error.what()) + "; trying again");
    }
    const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(wait);
    while (std::chrono::steady_clock::now() < until) {
      if (options_.stop()) throw Stopped{};
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    wait *= 2;
  }
}

std::optional<Snapshot> Hub::find(const Repository& repository) const {
  const std::string url = options_.endpoint + "/api/" + (repository.dataset ? "datasets/" : "models/") +
                          url_escaped(repository.id, true) + "/revision/" +
                          url_escaped(repository.revision, false);
  std::string text;
  try {
    with_tries(
        [&] {
          text.clear();
          follow({.url = url}, [&](const HttpResponse&, std::string_view bytes) {
            if (text.size() + bytes.size() > kListing)
              throw UserError(Where{url, 0, ""}, "the list of files is longer than 256 MiB");
            text += bytes;
          });
        },
        [] { return 0; });
  } catch (const UserError& error) {
    if (error.message().starts_with("HTTP 404")) return std::nullopt;
    throw;
  }
  const Json listing = Json::parse(text, nullptr, false);
  if (!listing.is_object())
    throw UserError(Where{url, 0, ""}, "the answer is not a hub's: is HF_ENDPOINT a hub's address?");
  Snapshot snapshot{repository, file_names(listing, url)};
  if (const auto sha = listing.find("sha"); sha != listing.end() && sha->is_string() && *sha != "")
    snapshot.repository.revision = *sha;
  return snapshot;
}

RemoteFile Hub::look(const Repository& repository, const std::string& name) const {
  RemoteFile file;
  file.name = name;
  file.url = options_.endpoint + (repository.dataset ? "/datasets/" : "/") +
             url_escaped(repository.id, true) + "/resolve/" + url_escaped(repository.revision, false) + "/" +
             url_escaped(name, true);
  HttpResponse response;
  with_tries([&] { response = follow({.url = file.url, .head = true}, [](const auto&, auto) {}); },
             [] { return 0; });
  const bool linked = !response.header("x-linked-etag").empty();
  const std::string tag = response.header(linked ? "x-linked-etag" : "etag");
  file.checksum = checksum_of_etag(tag);
  file.bytes = length_of(response, linked ? "x-linked-size" : "content-length");
  // Where the bytes come from another server, its tag is not the hub's.
  if (!linked && !tag.starts_with("W/")) file.entity_tag = tag;
  return file;
}

HttpResponse Hub::read(const RemoteFile& file, const std::vector<std::string>& headers,
                       const std::function<void(const HttpResponse&, std::string_view)>& body) const {
  return follow({.url = file.url, .headers = headers}, body);
}

}  // namespace ptq
