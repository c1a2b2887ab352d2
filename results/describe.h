// What the database knows of one cell, as one JSON value.
#pragma once

#include <string>

#include "core/json.h"

namespace SQLite {
class Database;
}

namespace ptq {

// The cell whose key begins with key_prefix. Throws UserError: none, or several (listed). Reads inside the caller's
// transaction.
Json describe(SQLite::Database& database, const std::string& key_prefix);

}  // namespace ptq
