#include "datasets/parquet/schema.h"

#include <algorithm>

#include "core/error.h"

namespace ptq::parquet {
namespace {

constexpr int kMaxDepth = 60;  // of groups; a level is a byte, and what reads the rows may be recursive
constexpr size_t kMaxColumns = 20000;

class SchemaBuilder {
 public:
  explicit SchemaBuilder(const std::vector<SchemaElement>& elements) : elements_(elements) {}

  Schema build() {
    if (elements_.empty() || elements_[0].children == 0) throw Damage{"it has no columns"};
    Schema schema;
    schema.root.name = elements_[0].name;
    next_ = 1;
    children(schema.root, elements_[0].children, "", 0);
    schema.root.columns = static_cast<int>(columns_.size());
    if (next_ != elements_.size()) throw Damage{"the schema has elements too many"};
    schema.columns = std::move(columns_);
    return schema;
  }

 private:
  void children(Node& parent, int64_t count, const std::string& path, int depth) {
    if (count < 0 || count > static_cast<int64_t>(elements_.size()) || depth > kMaxDepth ||
        elements_.size() > kMaxColumns)
      throw Damage{"the schema has an impossible shape"};
    for (int64_t i = 0; i < count; ++i) parent.children.push_back(node(parent, path, depth));
  }

  Node node(const Node& parent, const std::string& path, int depth) {
    if (next_ >= elements_.size()) throw Damage{"the schema has elements too few"};
    const SchemaElement& element = elements_[next_++];
    if (element.repetition < 0 || element.repetition > 2) throw Damage{"the schema has an impossible shape"};
    Node node;
    node.name = element.name;
    node.repetition = static_cast<Repetition>(element.repetition);
    node.meaning = element.meaning;
    node.repeated = parent.repeated + (node.repetition == Repetition::repeated);
    node.defined = parent.defined + (node.repetition != Repetition::required);
    node.first_column = static_cast<int>(columns_.size());
    const std::string full = path.empty() ? element.name : path + "." + element.name;
    if (element.type < 0) {
      if (element.children <= 0) throw UserError(Where{"", 0, full}, "a struct without fields is not read");
      children(node, element.children, full, depth + 1);
    } else {
      node.column = static_cast<int>(columns_.size());
      columns_.push_back(column(element, full, node));
    }
    node.columns = static_cast<int>(columns_.size()) - node.first_column;
    return node;
  }

  static Column column(const SchemaElement& element, const std::string& path, const Node& node) {
    if (element.type > 7) throw Damage{"the schema has a type that there is not"};
    const auto type = static_cast<Type>(element.type);
    const auto refuse = [&](const std::string& what) {
      throw UserError(Where{"", 0, path}, what + " are not read; texts, numbers, lists and structs are");
    };
    if (type == Type::int96) refuse("INT96 time stamps");
    if (element.meaning == Meaning::decimal) refuse("decimals");
    if (type == Type::fixed) refuse("byte strings of fixed length");
    return {path, type, element.meaning == Meaning::unsigned_integer, node.repeated, node.defined};
  }

  const std::vector<SchemaElement>& elements_;
  std::vector<Column> columns_;
  size_t next_ = 0;
};

// The format's rule for telling lists of three levels from older ones of two: whether the repeated group is
// only a wrapper of the element.
bool is_wrapper(const Node& list, const Node& repeated) {
  return repeated.column < 0 && repeated.children.size() == 1 && repeated.name != "array" &&
         repeated.name != list.name + "_tuple" && repeated.children[0].repetition != Repetition::repeated;
}

}  // namespace

Schema build_schema(const std::vector<SchemaElement>& elements) { return SchemaBuilder(elements).build(); }

RowBuilder::RowBuilder(const Schema& schema, std::vector<Entries> entries)
    : schema_(schema), entries_(std::move(entries)), cursors_(entries_.size()) {
  PTQ_CHECK_EQ(entries_.size(), schema.columns.size());
}

bool RowBuilder::done() const {
  for (size_t i = 0; i < entries_.size(); ++i)
    if (cursors_[i].entry != entries_[i].defined.size()) return false;
  return true;
}

Json RowBuilder::next() {
  for (size_t i = 0; i < cursors_.size(); ++i) {
    cursors_[i].row_begin = cursors_[i].entry;
    if (level(entries_[i].repeated, static_cast<int>(i)) != 0) throw Damage{"its lists do not fit the rows"};
  }
  return present(schema_.root);
}

const uint8_t& RowBuilder::level(const std::vector<uint8_t>& levels, int column) const {
  const size_t entry = cursors_[static_cast<size_t>(column)].entry;
  if (entry >= levels.size()) throw Damage{"has fewer rows than the file says"};
  return levels[entry];
}

void RowBuilder::advance(int column) {
  Cursor& cursor = cursors_[static_cast<size_t>(column)];
  // Within a row, an entry that begins another one is not ours.
  if (level(entries_[static_cast<size_t>(column)].repeated, column) == 0 && cursor.entry != cursor.row_begin)
    throw Damage{"its lists do not fit the rows"};
  ++cursor.entry;
}

Json RowBuilder::leaf(int column) {
  Entries& entries = entries_[static_cast<size_t>(column)];
  const bool there =
      level(entries.defined, column) == schema_.columns[static_cast<size_t>(column)].most_defined;
  advance(column);
  if (!there) return nullptr;
  return std::move(entries.values.at(cursors_[static_cast<size_t>(column)].value++));
}

Json RowBuilder::missing(const Node& node) {
  for (int i = 0; i < node.columns; ++i) advance(node.first_column + i);
  return nullptr;
}

Json RowBuilder::read(const Node& node) {
  if (node.repetition == Repetition::repeated) return list(node, nullptr);
  if (node.column >= 0) return leaf(node.column);
  const int first = node.first_column;
  if (level(entries_[static_cast<size_t>(first)].defined, first) < node.defined) return missing(node);
  return present(node);
}

// A group that is there, or an element of a list without wrapper.
Json RowBuilder::present(const Node& node) {
  if (node.column >= 0) return leaf(node.column);
  if ((node.meaning == Meaning::list || node.meaning == Meaning::map) && node.children.size() == 1 &&
      node.children[0].repetition == Repetition::repeated) {
    const Node& repeated = node.children[0];
    const bool wrapper = node.meaning == Meaning::list && is_wrapper(node, repeated);
    return list(repeated, wrapper ? &repeated.children[0] : nullptr);
  }
  Json object = Json::object();
  for (const Node& child : node.children) object[child.name] = read(child);
  return object;
}

Json RowBuilder::list(const Node& repeated, const Node* element) {
  Json array = Json::array();
  const int first = repeated.first_column;
  const Entries& entries = entries_[static_cast<size_t>(first)];
  if (level(entries.defined, first) < repeated.defined) {
    missing(repeated);
    return array;
  }
  const size_t& at = cursors_[static_cast<size_t>(first)].entry;
  do array.push_back(element ? read(*element) : present(repeated));
  while (at < entries.repeated.size() && entries.repeated[at] == repeated.repeated);
  return array;
}

}  // namespace ptq::parquet
