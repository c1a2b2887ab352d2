// Thrift's compact protocol, as far as Parquet's metadata need it. Fields that are not asked for are skipped.
#include "datasets/parquet/metadata.h"

#include <functional>

namespace ptq::parquet {
namespace {

enum Wire { stop, yes, no, byte, i16, i32, i64, real, binary, list, set, map, structure };
constexpr int kMaxDepth = 32;

class Thrift {
 public:
  explicit Thrift(std::string_view bytes) : bytes_(bytes) {}
  size_t at() const { return at_; }

  // f(field's number, wire type) reads the field and says so, or leaves it to be skipped.
  template <typename F>
  void fields(const F& f) {
    int64_t id = 0;
    for (int head; (head = next()) != stop;) {
      id = head >> 4 ? id + (head >> 4) : zigzag();
      if (!f(id, head & 15)) skip(head & 15, 0);
    }
  }
  template <typename F>
  void elements(int wire, const F& f) {
    if (wire != list && wire != set) throw Damage{"a list is expected in the metadata"};
    const auto [count, type] = list_head();
    for (int64_t i = 0; i < count; ++i) f(type);
  }
  bool integer(int wire, int64_t& value) {
    if (wire == byte) value = static_cast<int8_t>(next());
    else if (wire == i16 || wire == i32 || wire == i64) value = zigzag();
    else return false;
    return true;
  }
  bool boolean(int wire, bool& value) {
    if (wire != yes && wire != no) return false;
    value = wire == yes;
    return true;
  }
  bool text(int wire, std::string& value) {
    if (wire != binary) return false;
    value = take(varint());
    return true;
  }
  // For a union: which field is set, its content skipped but for what `f` reads.
  template <typename F>
  bool nested(int wire, const F& f) {
    if (wire != structure) return false;
    fields(f);
    return true;
  }

 private:
  int next() {
    if (at_ >= bytes_.size()) throw Damage{"the metadata end too early"};
    return static_cast<unsigned char>(bytes_[at_++]);
  }
  std::string take(uint64_t count) {
    if (count > bytes_.size() - at_) throw Damage{"the metadata end too early"};
    at_ += count;
    return std::string(bytes_.substr(at_ - count, count));
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto part = static_cast<uint64_t>(next());
      value |= (part & 127) << shift;
      if (part < 128) return value;
    }
    throw Damage{"a number in the metadata has too many digits"};
  }
  int64_t zigzag() {
    const uint64_t value = varint();
    return static_cast<int64_t>((value >> 1) ^ (0 - (value & 1)));
  }
  std::pair<int64_t, int> list_head() {
    const int head = next();
    const uint64_t count = (head >> 4) == 15 ? varint() : static_cast<uint64_t>(head >> 4);
    if (count > bytes_.size() - at_) throw Damage{"a list in the metadata is longer than they are"};
    return {static_cast<int64_t>(count), head & 15};
  }
  void skip(int wire, int depth) {
    if (depth > kMaxDepth) throw Damage{"the metadata are nested too deep"};
    if (wire == byte) take(1);
    else if (wire == i16 || wire == i32 || wire == i64) varint();
    else if (wire == real) take(8);
    else if (wire == binary) take(varint());
    else if (wire == list || wire == set) skip_list(depth);
    else if (wire == map) skip_map(depth);
    else if (wire == structure) skip_structure(depth);
    else if (wire != yes && wire != no) throw Damage{"the metadata hold what Thrift has not"};
  }
  void skip_element(int wire, int depth) {  // in a list a boolean is a byte
    if (wire == yes || wire == no) take(1);
    else skip(wire, depth + 1);
  }
  void skip_list(int depth) {
    const auto [count, type] = list_head();
    for (int64_t i = 0; i < count; ++i) skip_element(type, depth);
  }
  void skip_map(int depth) {
    const uint64_t count = varint();
    if (count > bytes_.size() - at_) throw Damage{"a map in the metadata is longer than they are"};
    const int types = count > 0 ? next() : 0;
    for (uint64_t i = 0; i < count; ++i) {
      skip_element(types >> 4, depth);
      skip_element(types & 15, depth);
    }
  }
  void skip_structure(int depth) {
    for (int head; (head = next()) != stop;) {
      if (!(head >> 4)) zigzag();
      skip(head & 15, depth + 1);
    }
  }

  std::string_view bytes_;
  size_t at_ = 0;
};

Meaning converted_meaning(int64_t type, Meaning before) {
  if (type == 1 || type == 2) return Meaning::map;
  if (type == 3) return Meaning::list;
  if (type == 5) return Meaning::decimal;
  return type >= 11 && type <= 14 ? Meaning::unsigned_integer : before;
}

// The newer mark, a union: the number of its one field is the kind.
Meaning logical_meaning(Thrift& thrift, int wire, Meaning before) {
  Meaning meaning = before;
  thrift.nested(wire, [&](int64_t kind, int type) {
    if (kind == 2) meaning = Meaning::map;
    if (kind == 3) meaning = Meaning::list;
    if (kind == 5) meaning = Meaning::decimal;
    if (kind != 10) return false;
    return thrift.nested(type, [&](int64_t field, int part) {
      bool is_signed = true;
      if (field != 2 || !thrift.boolean(part, is_signed)) return false;
      if (!is_signed) meaning = Meaning::unsigned_integer;
      return true;
    });
  });
  return meaning;
}

SchemaElement read_element(Thrift& thrift) {
  SchemaElement element;
  thrift.fields([&](int64_t id, int wire) {
    int64_t number = 0;
    if (id == 1) return thrift.integer(wire, element.type);
    if (id == 3) return thrift.integer(wire, element.repetition);
    if (id == 4) return thrift.text(wire, element.name);
    if (id == 5) return thrift.integer(wire, element.children);
    if (id == 6 && thrift.integer(wire, number)) {
      element.meaning = converted_meaning(number, element.meaning);
      return true;
    }
    if (id == 10 && wire == structure) {
      element.meaning = logical_meaning(thrift, wire, element.meaning);
      return true;
    }
    return false;
  });
  return element;
}

ColumnChunk read_chunk(Thrift& thrift) {
  ColumnChunk chunk;
  thrift.fields([&](int64_t id, int wire) {
    if (id == 1 || id == 8 || id == 9) chunk.elsewhere = true;
    return id == 3 && thrift.nested(wire, [&](int64_t field, int type) {
      if (field == 1) return thrift.integer(type, chunk.type);
      if (field == 4) return thrift.integer(type, chunk.codec);
      if (field == 5) return thrift.integer(type, chunk.values);
      if (field == 7) return thrift.integer(type, chunk.bytes);
      if (field == 9) return thrift.integer(type, chunk.data_at);
      return field == 11 && thrift.integer(type, chunk.dictionary_at);
    });
  });
  return chunk;
}

RowGroup read_group(Thrift& thrift) {
  RowGroup group;
  thrift.fields([&](int64_t id, int wire) {
    if (id == 1) {
      thrift.elements(wire, [&](int) { group.columns.push_back(read_chunk(thrift)); });
      return true;
    }
    return id == 3 && thrift.integer(wire, group.rows);
  });
  return group;
}

}  // namespace

Metadata read_metadata(std::string_view bytes) {
  Thrift thrift(bytes);
  Metadata metadata;
  thrift.fields([&](int64_t id, int wire) {
    if (id == 2) thrift.elements(wire, [&](int) { metadata.schema.push_back(read_element(thrift)); });
    else if (id == 4) thrift.elements(wire, [&](int) { metadata.groups.push_back(read_group(thrift)); });
    return id == 2 || id == 4;
  });
  return metadata;
}

PageHeader read_page_header(std::string_view bytes, size_t& used) {
  Thrift thrift(bytes);
  PageHeader header;
  thrift.fields([&](int64_t id, int wire) {
    if (id == 1) return thrift.integer(wire, header.type);
    if (id == 2) return thrift.integer(wire, header.unpacked);
    if (id == 3) return thrift.integer(wire, header.packed);
    if (id == 4 && thrift.integer(wire, header.crc)) {
      header.crc = static_cast<uint32_t>(header.crc);
      return true;
    }
    if (id != 5 && id != 7 && id != 8) return false;
    return thrift.nested(wire, [&](int64_t field, int type) {
      if (field == 1) return thrift.integer(type, header.values);
      if (id == 8) {
        if (field == 4) return thrift.integer(type, header.encoding);
        if (field == 5) return thrift.integer(type, header.definition_bytes);
        if (field == 6) return thrift.integer(type, header.repetition_bytes);
        return field == 7 && thrift.boolean(type, header.compressed);
      }
      if (field == 2) return thrift.integer(type, header.encoding);
      if (id == 5 && field == 3) return thrift.integer(type, header.definition_encoding);
      return id == 5 && field == 4 && thrift.integer(type, header.repetition_encoding);
    });
  });
  used = thrift.at();
  return header;
}

}  // namespace ptq::parquet
