// What the programs of bench/ have in common: they answer commands, a line each on stdin, with a line of JSON
// each on stdout, so that a script can drive them beside a peer.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/json.h"

namespace ptq::bench {

inline at::ScalarType dtype_of(const std::string& name) {
  if (name == "float32") return at::kFloat;
  if (name == "bfloat16") return at::kBFloat16;
  throw UserError(unknown_name_message("dtype", name, {"bfloat16", "float32"}));
}

inline void serve(const std::map<std::string, std::function<Json()>>& commands) {
  std::vector<std::string> names;
  for (const auto& [name, answer] : commands) names.push_back(name);
  for (std::string line; std::getline(std::cin, line);) {
    const auto command = commands.find(line);
    if (command == commands.end()) throw UserError(unknown_name_message("command", line, names));
    std::cout << command->second().dump() << std::endl;
  }
}

// The exit code of `run`, a fault told on stderr.
inline int guarded(const char* program, const std::function<void()>& run) {
  try {
    run();
    return 0;
  } catch (const std::exception& error) {
    std::cerr << program << ": " << error.what() << "\n";
    return 1;
  }
}

}  // namespace ptq::bench
