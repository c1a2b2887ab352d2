// One HTTP exchange; redirects are the caller's affair, so that it decides what goes to which host. The only
// code that speaks libcurl.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace ptq {

struct HttpRequest {
  std::string url;
  bool head = false;                 // the headers alone
  std::vector<std::string> headers = {};  // "Range: bytes=5-"
  std::string bearer = "";                // sent as Authorization, kept out of every message; "" for none
};

struct HttpResponse {
  int status = 0;
  std::map<std::string, std::string> headers;         // names in lower case
  std::string header(const std::string& name) const;  // "" when it is not there
};

// The connection failed, ended early or was silent for a minute: another try may go better.
class TransferError : public UserError {
 public:
  using UserError::UserError;
};
// `stop` said so.
struct Stopped {};

// `body` gets the bytes as they come, the status and headers being known; what it throws ends the exchange
// and comes out here. `stop` is asked about once a second and with every piece; true throws Stopped. Messages
// name the URL without its query, which may hold a signature. The environment's proxies are used, but not for
// this machine. Throws TransferError; UserError for a URL that is neither http nor https.
HttpResponse http_exchange(const HttpRequest& request,
                           const std::function<void(const HttpResponse&, std::string_view)>& body,
                           const std::function<bool()>& stop);

struct UrlParts {
  std::string scheme, host, port;
  bool operator==(const UrlParts&) const = default;  // the same origin
};
UrlParts url_parts(const std::string& url);  // the port also where it is the scheme's usual one
bool is_this_machine(const UrlParts& url);   // localhost, 127.0.0.0/8, [::1]
std::string redirected(const std::string& url, const std::string& location);
std::string without_query(const std::string& url);
// Everything but letters, digits and "-._~", and "/" where it is kept, as %XX.
std::string url_escaped(const std::string& text, bool keep_slash);

}  // namespace ptq
