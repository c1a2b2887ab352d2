#include "harness/http.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <exception>
#include <memory>

namespace ptq {
namespace {

using Curl = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;
using Url = std::unique_ptr<CURLU, decltype(&curl_url_cleanup)>;

struct Exchange {
  const std::function<void(const HttpResponse&, std::string_view)>& body;
  const std::function<bool()>& stop;
  HttpResponse response;
  std::exception_ptr fault;  // no exception may pass through C
  bool stopped = false;
};

std::string trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  return begin == std::string_view::npos
             ? ""
             : std::string(text.substr(begin, text.find_last_not_of(" \t\r\n") + 1 - begin));
}

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

size_t on_header(char* data, size_t size, size_t count, void* context) {
  HttpResponse& response = static_cast<Exchange*>(context)->response;
  const std::string_view line(data, size * count);
  if (line.starts_with("HTTP/")) {  // also of an interim answer: the last one counts
    response = {};
    if (const size_t blank = line.find(' '); blank != std::string_view::npos)
      response.status = std::atoi(std::string(line.substr(blank)).c_str());
  } else if (const size_t colon = line.find(':'); colon != std::string_view::npos) {
    response.headers[lower(trimmed(line.substr(0, colon)))] = trimmed(line.substr(colon + 1));
  }
  return size * count;
}

size_t on_body(char* data, size_t size, size_t count, void* context) {
  auto& exchange = *static_cast<Exchange*>(context);
  try {
    exchange.body(exchange.response, std::string_view(data, size * count));
    return size * count;
  } catch (...) {
    exchange.fault = std::current_exception();
    return 0;  // fewer than given: libcurl ends the transfer
  }
}

int on_progress(void* context, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto& exchange = *static_cast<Exchange*>(context);
  exchange.stopped = exchange.stop();
  return exchange.stopped ? 1 : 0;
}

template <typename T>
void set(CURL* curl, CURLoption option, T value) {
  PTQ_CHECK_EQ(curl_easy_setopt(curl, option, value), CURLE_OK);
}

std::string part_of(const Url& url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url.get(), part, &text, flags) != CURLUE_OK) return "";
  const std::unique_ptr<char, decltype(&curl_free)> owner(text, curl_free);
  return text;
}

Url parsed(const std::string& text) {
  Url url(curl_url(), curl_url_cleanup);
  PTQ_CHECK(url != nullptr);
  const bool good = curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) == CURLUE_OK;
  const std::string scheme = good ? part_of(url, CURLUPART_SCHEME) : "";
  if (scheme != "http" && scheme != "https")
    throw UserError(Where{without_query(text), 0, ""}, "not an address that begins with https:// or http://");
  return url;
}

}  // namespace

std::string HttpResponse::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

HttpResponse http_exchange(const HttpRequest& request,
                           const std::function<void(const HttpResponse&, std::string_view)>& body,
                           const std::function<bool()>& stop) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  PTQ_CHECK_EQ(ready, CURLE_OK);
  const bool local = is_this_machine(url_parts(request.url));
  const Curl curl(curl_easy_init(), curl_easy_cleanup);
  PTQ_CHECK(curl != nullptr);

  Exchange exchange{body, stop, {}, nullptr, false};
  curl_slist* list = nullptr;
  for (const std::string& header : request.headers) list = curl_slist_append(list, header.c_str());
  if (!request.bearer.empty())
    list = curl_slist_append(list, ("Authorization: Bearer " + request.bearer).c_str());
  const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(list, curl_slist_free_all);

  set(curl.get(), CURLOPT_URL, request.url.c_str());
  set(curl.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  set(curl.get(), CURLOPT_NOBODY, request.head ? 1L : 0L);
  set(curl.get(), CURLOPT_HTTPHEADER, headers.get());
  set(curl.get(), CURLOPT_USERAGENT, "harness");
  set(curl.get(), CURLOPT_FOLLOWLOCATION, 0L);
  set(curl.get(), CURLOPT_NOSIGNAL, 1L);
  set(curl.get(), CURLOPT_CONNECTTIMEOUT, 30L);
  set(curl.get(), CURLOPT_LOW_SPEED_LIMIT, 1L);
  set(curl.get(), CURLOPT_LOW_SPEED_TIME, 60L);
  if (local) set(curl.get(), CURLOPT_PROXY, "");
  set(curl.get(), CURLOPT_HEADERFUNCTION, on_header);
  set(curl.get(), CURLOPT_HEADERDATA, &exchange);
  set(curl.get(), CURLOPT_WRITEFUNCTION, on_body);
  set(curl.get(), CURLOPT_WRITEDATA, &exchange);
  set(curl.get(), CURLOPT_NOPROGRESS, 0L);
  set(curl.get(), CURLOPT_XFERINFOFUNCTION, on_progress);
  set(curl.get(), CURLOPT_XFERINFODATA, &exchange);

  const CURLcode code = curl_easy_perform(curl.get());
  if (exchange.fault) std::rethrow_exception(exchange.fault);
  if (exchange.stopped) throw Stopped{};
  if (code != CURLE_OK)
    throw TransferError(Where{without_query(request.url), 0, ""},
                        code == CURLE_PARTIAL_FILE ? "the connection ended before the file did"
                                                   : lower(curl_easy_strerror(code)));
  return exchange.response;
}

UrlParts url_parts(const std::string& text) {
  const Url url = parsed(text);
  return {part_of(url, CURLUPART_SCHEME), lower(part_of(url, CURLUPART_HOST)),
          part_of(url, CURLUPART_PORT, CURLU_DEFAULT_PORT)};
}

bool is_this_machine(const UrlParts& url) {
  return url.host == "localhost" || url.host == "[::1]" ||
         (url.host.starts_with("127.") && url.host.find_first_not_of("0123456789.") == std::string::npos);
}

std::string redirected(const std::string& text, const std::string& location) {
  const Url url = parsed(text);
  if (curl_url_set(url.get(), CURLUPART_URL, location.c_str(), 0) != CURLUE_OK)
    throw UserError(Where{without_query(text), 0, ""}, "redirects to what is no address");
  return part_of(url, CURLUPART_URL);
}

std::string without_query(const std::string& url) {
  const size_t scheme = url.find("://"), from = scheme == std::string::npos ? 0 : scheme + 3;
  const std::string text = url.substr(0, url.find_first_of("?#", from));
  // user:password@ is no less of a secret.
  const size_t at = text.rfind('@', text.find('/', from));
  return at == std::string::npos || at < from ? text : text.substr(0, from) + text.substr(at + 1);
}

std::string url_escaped(const std::string& text, bool keep_slash) {
  std::string escaped;
  for (const unsigned char c : text) {
    if (std::isalnum(c) || std::string_view("-._~").find(char(c)) != std::string_view::npos ||
        (keep_slash && c == '/')) {
      escaped += char(c);
    } else {
      escaped += '%';
      escaped += "0123456789ABCDEF"[c >> 4];
      escaped += "0123456789ABCDEF"[c & 15];
    }
  }
  return escaped;
}

}  // namespace ptq
