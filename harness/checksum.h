// What a downloaded file must hash to.
#pragma once

#include <functional>
#include <string>

namespace ptq {

struct Checksum {
  enum class Kind { none, sha256, git_blob };  // git_blob: SHA-1 of "blob <bytes>\0" and the file
  Kind kind = Kind::none;
  std::string hex;  // lower case
  bool operator==(const Checksum&) const = default;
};

// A hub's entity tag, weak or not: 64 hexadecimal digits are the file's SHA-256 (large files), 40 its git
// blob hash (the others). Anything else says nothing of the content: none.
Checksum checksum_of_etag(const std::string& etag);

// "sha256 3f..", "git blob 1a.."
std::string describe(const Checksum& checksum);

// The checksum of that kind of a file. Reads the file once; about 1 s a GB. `stop` true throws Stopped
// (http.h). Throws UserError: cannot be read. Requires a kind other than none.
Checksum file_checksum(Checksum::Kind kind, const std::string& path, const std::function<bool()>& stop);

}  // namespace ptq
