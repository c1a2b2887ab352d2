#include "results/describe.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <SQLiteCpp/VariadicBind.h>

#include <cmath>

#include "core/error.h"

namespace ptq {
namespace {

Json value_of(const SQLite::Column& column) {
  if (column.isInteger()) return column.getInt64();
  // JSON has no infinity: its name stands for it.
  if (column.isFloat())
    return std::isfinite(column.getDouble()) ? Json(column.getDouble()) : Json(shortest(column.getDouble()));
  if (column.isNull()) return nullptr;
  return column.getString();
}

// The rows of a query as objects {column name: value}.
template <typename... Values>
Json rows_of(SQLite::Database& db, const std::string& query, const Values&... values) {
  SQLite::Statement statement(db, query);
  SQLite::bind(statement, values...);
  Json rows = Json::array();
  while (statement.executeStep()) {
    Json row = Json::object();
    for (int i = 0; i < statement.getColumnCount(); ++i)
      row[statement.getColumnName(i)] = value_of(statement.getColumn(i));
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string only_key(SQLite::Database& db, const std::string& prefix) {
  constexpr size_t shown = 8;
  const Json found = rows_of(db, "SELECT DISTINCT key FROM cell WHERE substr(key, 1, length(?1)) = ?1 ORDER BY key LIMIT " +
                                     std::to_string(shown + 1), prefix);
  if (found.empty()) throw UserError("no cell's key begins with '" + prefix + "'; `harness list` shows the keys");
  if (found.size() == 1) return found[0]["key"];
  std::string text = "several cells' keys begin with '" + prefix + "': ";
  for (size_t i = 0; i < std::min(found.size(), shown); ++i)
    text += (i ? ", " : "") + found[i]["key"].get<std::string>().substr(0, std::max<size_t>(12, prefix.size() + 4));
  throw UserError(text + (found.size() > shown ? ", ..." : ""));
}

// A list, not an object: layers stay in the order of the model. `rows`: layer, name, value, step.
Json layers_of(const Json& rows) {
  Json layers = Json::array();
  for (const Json& row : rows) {
    if (layers.empty() || layers.back()["layer"] != row["layer"])
      layers.push_back({{"layer", row["layer"]}, {"metrics", Json::object()}});
    Json& metric = layers.back()["metrics"][row["name"].get<std::string>()];
    if (row["step"] < 0) metric = row["value"];
    else metric.push_back({row["step"], row["value"]});  // a curve
  }
  return layers;
}

Json describe_quantization(SQLite::Database& db, const std::string& key) {
  Json found = rows_of(db,
                       "SELECT q.id, q.key, q.run, q.committed, q.average_bits, q.seconds, q.peak_memory_bytes, "
                       "a.file AS artifact, a.digest AS artifact_digest FROM latest_quantization AS q "
                       "JOIN artifact AS a ON a.quantization = q.id WHERE q.key = ?", key);
  if (found.empty()) return nullptr;
  Json& result = found[0];
  result["layers"] = layers_of(rows_of(
      db, "SELECT layer, name, value, step FROM layer_metric WHERE quantization = ? ORDER BY id", result["id"].get<int64_t>()));
  result.erase("id");
  return result;
}

}  // namespace

Json describe(SQLite::Database& db, const std::string& key_prefix) {
  const std::string key = only_key(db, key_prefix);
  Json cell = rows_of(db, "SELECT * FROM latest_cell WHERE key = ?", key)[0];
  const int64_t id = cell["id"], run = cell["run"];
  Json result = cell;
  result.erase("id");
  result.erase("description");
  result["cell"] = Json::parse(cell["description"].get<std::string>());
  result["metrics"] = rows_of(db, "SELECT name, value, stderr, count FROM metric WHERE cell = ? ORDER BY id", id);
  result["document_scores"] = rows_of(
      db, "SELECT name, count(*) AS count FROM document_score WHERE cell = ? GROUP BY name ORDER BY name", id);
  for (const Json& row : rows_of(
           db, "SELECT name, document, value FROM document_text WHERE cell = ? ORDER BY document, name", id)) {
    Json& documents = result["documents"];
    if (documents.is_null() || documents.back()["document"] != row["document"])
      documents.push_back({{"document", row["document"]}});
    documents.back()[row["name"].get<std::string>()] = row["value"];
  }
  Json layers = layers_of(
      rows_of(db, "SELECT layer, name, value, step FROM cell_layer_metric WHERE cell = ? ORDER BY id", id));
  if (!layers.empty()) result["layers"] = std::move(layers);
  result["run"] = rows_of(db, "SELECT id, experiment, started, ended, status FROM run WHERE id = ?", run)[0];
  Json environment = rows_of(
      db, "SELECT * FROM environment WHERE id = (SELECT environment FROM run WHERE id = ?)", run)[0];
  environment.erase("id");
  result["environment"] = std::move(environment);
  result["quantization"] = describe_quantization(db, cell["quantize_key"]);
  result["earlier_failures"] =
      rows_of(db, "SELECT run, committed, error FROM cell WHERE key = ? AND id <> ? ORDER BY id", key, id);
  return result;
}

}  // namespace ptq
