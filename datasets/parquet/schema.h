// Parquet's schema as a tree, and rows put together along it.
#pragma once

#include <string>
#include <vector>

#include "core/json.h"
#include "datasets/parquet/pages.h"

namespace ptq::parquet {

struct Node {
  std::string name;
  Repetition repetition = Repetition::required;
  Meaning meaning = Meaning::plain;
  int repeated = 0, defined = 0;      // levels at which this is there
  int column = -1;                    // a leaf's; -1: a group
  int first_column = 0, columns = 0;  // of the leaves below, which stand side by side
  std::vector<Node> children;
};

struct Schema {
  Node root;
  std::vector<Column> columns;
};

// Throws Damage; UserError with the column as its key for types that are not read.
Schema build_schema(const std::vector<SchemaElement>& elements);

// Puts rows together, from entries of each column of one row group.
class RowBuilder {
 public:
  RowBuilder(const Schema& schema, std::vector<Entries> entries);
  Json next();        // throws Damage: the columns do not fit each other
  bool done() const;  // whether every column is used up

 private:
  struct Cursor {
    size_t entry = 0, value = 0, row_begin = 0;
  };
  Json present(const Node& node);
  Json read(const Node& node);
  Json list(const Node& repeated, const Node* element);
  Json missing(const Node& node);
  Json leaf(int column);
  const uint8_t& level(const std::vector<uint8_t>& levels, int column) const;
  void advance(int column);

  const Schema& schema_;
  std::vector<Entries> entries_;
  std::vector<Cursor> cursors_;
};

}  // namespace ptq::parquet
