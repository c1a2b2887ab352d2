// A hub's file onto the disk: cut anywhere, it goes on behind the last byte; whole, it is checked and only
// then stands under its name.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "harness/hub.h"

namespace ptq {

// Whether the file is there: length and checksum agree (without a checksum the length alone). Reads it once.
bool is_downloaded(const Hub& hub, const RemoteFile& file, const std::string& path);

// Bytes of it that wait in its part.
int64_t bytes_in_part(const RemoteFile& file, const std::string& path);

// Gets the file and puts it under `path`; the folder is made. What a cut, a signal or a crash leaves is
// `<path>.<tag>.part`. The tag is the content's: a part of another version is not continued but removed.
// Continuing asks for the range behind it, with If-Range where the server's tag allows; a server that sends
// all again is taken from the beginning, and one that names neither checksum nor tag is asked for all at
// once. `gained` hears how many bytes came; after a beginning from anew the number is negative first. Throws
// UserError: wrong checksum or length (the part is removed), no room on the disk (it is kept), another
// process at the same file; and what Hub throws.
void download(const Hub& hub, const RemoteFile& file, const std::string& path,
              const std::function<void(int64_t)>& gained);

// "1.4 GB", "873 kB": powers of 1000, as disks and hubs count.
std::string bytes_text(int64_t bytes);

}  // namespace ptq
