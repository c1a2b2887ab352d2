// Lifting a database of an older schema to this program's.
#pragma once

#include <string>

namespace ptq {

// In one transaction, under the database's lock: all of it happens, or nothing. Returns the version that was
// found (this program's own: nothing was done). Throws UserError: newer schema, not harness's, locked by a
// run, missing, I/O.
int migrate_database(const std::string& path);
int current_schema_version();

}  // namespace ptq
