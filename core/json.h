// JSON values: one library type, one canonical text.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace ptq {

using Json = nlohmann::json;  // objects are ordered by key: equal values give equal text

// Compact text with sorted keys and the shortest digits that round-trip: what is hashed and stored.
std::string canonical(const Json& value);

// Reads a file's JSON. Throws UserError naming the file and the position of the fault.
Json read_json_file(const std::string& path);

// Shortest decimal text that reads back as the same double ("nan", "inf", "-inf" otherwise).
std::string shortest(double value);

}  // namespace ptq
