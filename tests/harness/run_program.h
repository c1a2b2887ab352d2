// The program as a user runs it: a shell command, what it printed and its exit code.
#pragma once

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <string>

namespace ptq::test {

struct Ran {
  int code = 0;
  std::string out, err;
};

// In folder `dir`, where a file "stderr" is left.
inline Ran shell(const std::string& dir, const std::string& command) {
  const std::string err = dir + "/stderr";
  Ran ran;
  FILE* pipe = ::popen(("cd " + dir + " && " + command + " 2>" + err).c_str(), "r");
  std::array<char, 4096> part;
  for (size_t n; (n = std::fread(part.data(), 1, part.size(), pipe)) > 0;) ran.out.append(part.data(), n);
  ran.code = WEXITSTATUS(::pclose(pipe));
  if (FILE* file = std::fopen(err.c_str(), "r")) {
    for (size_t n; (n = std::fread(part.data(), 1, part.size(), file)) > 0;) ran.err.append(part.data(), n);
    std::fclose(file);
  }
  return ran;
}

}  // namespace ptq::test
