#include "datasets/parquet.h"

#include "core/error.h"
#include "datasets/parquet/encodings.h"
#include "datasets/parquet/schema.h"
#include "models/tokenizer/utf8.h"

namespace ptq {
namespace {

using namespace parquet;

constexpr std::string_view kMagic = "PAR1";

Metadata read_footer(std::string_view bytes) {
  if (bytes.starts_with("PARE") || bytes.ends_with("PARE")) throw Damage{"it is encrypted"};
  if (bytes.size() < 12 || !bytes.ends_with(kMagic))
    throw Damage{"it is cut short: Parquet ends with the letters PAR1; get the file again"};
  std::string_view length = bytes.substr(bytes.size() - 8, 4);
  const auto size = take_number<uint32_t>(length);
  if (size > bytes.size() - 12) throw Damage{"its footer is longer than the file"};
  return read_metadata(bytes.substr(bytes.size() - 8 - size, size));
}

// The place of the first string in `value` that is not UTF-8: "choices.text[1]"; "" when all are.
std::string broken_text(const Json& value, const std::string& path) {
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    return tokenizer::valid_utf8_prefix(text) < text.size() ? path : "";
  }
  if (value.is_array())
    for (size_t i = 0; i < value.size(); ++i)
      if (auto place = broken_text(value[i], path + "[" + std::to_string(i) + "]"); !place.empty())
        return place;
  if (value.is_object())
    for (const auto& [key, inner] : value.items())
      if (auto place = broken_text(inner, path.empty() ? key : path + "." + key); !place.empty())
        return place;
  return "";
}

// f(). Damage is told with its place, and a message that knows only its column with the file.
template <typename F>
auto placed(const std::string& path, const std::string& column, const F& f) {
  try {
    return f();
  } catch (const Damage& damage) {
    throw UserError(Where{path, 0, column}, "damaged Parquet: " + damage.what);
  } catch (const UserError& error) {
    throw UserError(Where{path, 0, error.where().key.empty() ? column : error.where().key}, error.message());
  }
}

class Reader {
 public:
  Reader(std::string_view bytes, const std::string& path, int64_t budget)
      : bytes_(bytes), path_(path), budget_(budget) {}

  std::vector<JsonDocument> read() {
    const Metadata metadata = placed(path_, "", [&] { return read_footer(bytes_); });
    const Schema schema = placed(path_, "", [&] { return build_schema(metadata.schema); });
    for (const RowGroup& group : metadata.groups) add_group(group, schema);
    return std::move(documents_);
  }

 private:
  void add_group(const RowGroup& group, const Schema& schema) {
    std::vector<Entries> entries;
    for (size_t i = 0; i < schema.columns.size(); ++i)
      placed(path_, schema.columns[i].name, [&] {
        if (group.columns.size() != schema.columns.size()) throw Damage{"a row group has other columns"};
        if (group.columns[i].elsewhere) throw Damage{"its values lie in another file, or are encrypted"};
        if (group.columns[i].type != static_cast<int64_t>(schema.columns[i].type))
          throw Damage{"a row group has another type"};
        entries.push_back(read_entries(bytes_, group.columns[i], schema.columns[i], budget_));
      });
    RowBuilder builder(schema, std::move(entries));
    for (int64_t row = 0; row < group.rows; ++row) {
      JsonDocument document{placed(path_, "", [&] { return builder.next(); }), path_,
                            static_cast<int>(documents_.size()) + 1};
      if (const std::string place = broken_text(document.value, ""); !place.empty())
        throw UserError(Where{path_, document.line, place}, "not UTF-8");
      documents_.push_back(std::move(document));
    }
    placed(path_, "", [&] {
      if (!builder.done()) throw Damage{"a column has more rows than the file says"};
    });
  }

  std::string_view bytes_;
  const std::string& path_;
  Budget budget_;
  std::vector<JsonDocument> documents_;
};

}  // namespace

bool is_parquet(std::string_view bytes) { return bytes.starts_with(kMagic) || bytes.starts_with("PARE"); }

std::vector<JsonDocument> parse_parquet(std::string_view bytes, const std::string& path, int64_t budget) {
  return Reader(bytes, path, budget).read();
}

std::vector<JsonDocument> parse_parquet(std::string_view bytes, const std::string& path) {
  return parse_parquet(bytes, path, (int64_t{1} << 30) + 256 * static_cast<int64_t>(bytes.size()));
}

}  // namespace ptq
