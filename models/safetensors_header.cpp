#include "models/safetensors_header.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "models/printable.h"

namespace ptq {
namespace {

constexpr std::array<std::pair<std::string_view, int>, 22> dtype_bits = {{
    {"F64", 64},    {"F32", 32},    {"F16", 16},    {"BF16", 16},   {"I64", 64},        {"I32", 32},
    {"I16", 16},    {"I8", 8},      {"U64", 64},    {"U32", 32},    {"U16", 16},        {"U8", 8},
    {"BOOL", 8},    {"C64", 64},    {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8},
    {"F8_E8M0", 8}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F4", 4},
}};
constexpr size_t max_dimensions = 64;

// Takes the parser's events one by one: the header has two levels of objects and one of arrays, and anything
// else ends the parse.
class HeaderReader : public nlohmann::json_sax<Json> {
 public:
  HeaderReader(const std::string& path, SafetensorsHeader& header) : path_(path), header_(header) {}

  bool start_object(size_t) override {
    if (state_ == State::start) return enter(State::top);
    if (state_ == State::top && name_ == "__metadata__") return enter(State::metadata);
    if (state_ == State::top) {
      entry_ = {};
      has_dtype_ = has_shape_ = has_offsets_ = false;
      return enter(State::tensor);
    }
    fail("an object where none belongs");
  }

  bool key(string_t& text) override {
    switch (state_) {
      case State::top:
        if (text == "__metadata__" ? std::exchange(has_metadata_, true) : header_.tensors.count(text) > 0)
          throw UserError({path_, 0, printable(text)}, "stands twice in the safetensors header");
        name_ = std::move(text);
        return true;
      case State::metadata:
        field_ = std::move(text);
        if (header_.metadata.count(field_)) fail("'" + printable(field_) + "' stands twice");
        return true;
      default:
        field_ = std::move(text);
        if (field_ == "dtype"   ? has_dtype_
            : field_ == "shape" ? has_shape_
                                : field_ == "data_offsets" && has_offsets_)
          fail("'" + field_ + "' stands twice");
        if (field_ != "dtype" && field_ != "shape" && field_ != "data_offsets")
          fail("unknown key '" + printable(field_) + "'; allowed: dtype, shape, data_offsets");
        return true;
    }
  }

  bool string(string_t& text) override {
    if (state_ == State::metadata) {
      header_.metadata.emplace(field_, std::move(text));
      return true;
    }
    if (state_ != State::tensor || field_ != "dtype") fail("text where none belongs");
    entry_.dtype = std::move(text);
    has_dtype_ = true;
    return true;
  }

  bool start_array(size_t) override {
    if (state_ != State::tensor || field_ == "dtype") fail("an array where none belongs");
    numbers_.clear();
    return enter(State::array);
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (state_ != State::array) fail("a number where none belongs");
    if (numbers_.size() == max_dimensions) fail("more than 64 numbers in '" + field_ + "'");
    numbers_.push_back(value);
    return true;
  }

  bool end_array() override {
    state_ = State::tensor;
    if (field_ == "data_offsets") {
      if (numbers_.size() != 2) fail("data_offsets must be two numbers");
      entry_.begin = numbers_[0];
      entry_.end = numbers_[1];
      has_offsets_ = true;
      return true;
    }
    for (const uint64_t size : numbers_) {
      if (size > uint64_t(INT64_MAX)) fail("a dimension of " + std::to_string(size));
      entry_.shape.push_back(int64_t(size));
    }
    has_shape_ = true;
    return true;
  }

  bool end_object() override {
    if (state_ == State::tensor) {
      if (!has_dtype_ || !has_shape_ || !has_offsets_) fail("lacks dtype, shape or data_offsets");
      header_.tensors.emplace(name_, std::move(entry_));
      state_ = State::top;
    } else {
      state_ = state_ == State::metadata ? State::top : State::end;
    }
    return true;
  }

  bool null() override { fail("null where none belongs"); }
  bool boolean(bool) override { fail("a boolean where none belongs"); }
  bool number_integer(number_integer_t value) override {
    fail("a negative number: " + std::to_string(value));
  }
  bool number_float(number_float_t, const string_t& text) override {
    fail("not a whole number: " + printable(text));
  }
  bool binary(binary_t&) override { fail("binary data where none belongs"); }
  bool parse_error(size_t position, const std::string&, const Json::exception&) override {
    throw UserError({path_, 0, ""}, "is not a safetensors file: the header is not valid JSON at its byte " +
                                        std::to_string(position));
  }

 private:
  enum class State { start, top, metadata, tensor, array, end };

  bool enter(State state) {
    state_ = state;
    return true;
  }
  [[noreturn]] void fail(const std::string& message) const {
    throw UserError({path_, 0, printable(name_)}, "wrong safetensors header: " + message);
  }

  const std::string& path_;
  SafetensorsHeader& header_;
  State state_ = State::start;
  std::string name_, field_;
  SafetensorsEntry entry_;
  std::vector<uint64_t> numbers_;
  bool has_metadata_ = false, has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
};

// dtype, shape and offsets against each other and the file.
void check_entry(const std::string& name, const SafetensorsEntry& entry, uint64_t data_bytes,
                 const std::string& path) {
  const auto fail = [&](const std::string& message) { throw UserError({path, 0, printable(name)}, message); };
  const int bits = safetensors_bits(entry.dtype);
  if (bits == 0) {
    std::vector<std::string> known;
    for (const auto& [dtype, unused] : dtype_bits) known.emplace_back(dtype);
    fail(unknown_name_message("dtype", printable(entry.dtype, 40), known));
  }
  if (entry.begin > entry.end || entry.end > data_bytes)
    fail("data_offsets [" + std::to_string(entry.begin) + ", " + std::to_string(entry.end) +
         "] lie outside the file, which has " + std::to_string(data_bytes) + " bytes of data (truncated?)");
  uint64_t total = uint64_t(bits);
  for (const int64_t size : entry.shape)
    if (__builtin_mul_overflow(total, uint64_t(size), &total)) fail("the shape overflows");
  if (total % 8 != 0 || total / 8 != entry.end - entry.begin)
    fail("data_offsets cover " + std::to_string(entry.end - entry.begin) + " bytes, the shape needs " +
         std::to_string(total / 8));
}

}  // namespace

int safetensors_bits(std::string_view dtype) {
  for (const auto& [name, bits] : dtype_bits)
    if (name == dtype) return bits;
  return 0;
}

SafetensorsHeader parse_safetensors_header(std::string_view text, uint64_t data_bytes,
                                           const std::string& path) {
  if (text.empty() || text.front() != '{')
    throw UserError({path, 0, ""}, "is not a safetensors file: the header is not a JSON object");
  SafetensorsHeader header;
  HeaderReader reader(path, header);
  Json::sax_parse(text.begin(), text.end(), &reader);

  std::vector<std::pair<const std::string*, const SafetensorsEntry*>> by_offset;
  for (const auto& [name, entry] : header.tensors) {
    check_entry(name, entry, data_bytes, path);
    by_offset.emplace_back(&name, &entry);
  }
  std::sort(by_offset.begin(), by_offset.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->begin, a.second->end) < std::pair(b.second->begin, b.second->end);
  });
  uint64_t covered = 0;
  for (const auto& [name, entry] : by_offset) {
    if (entry->begin != covered)
      throw UserError(
          {path, 0, printable(*name)},
          std::string(entry->begin < covered ? "overlaps another tensor" : "a hole lies before it") +
              ": begins at byte " + std::to_string(entry->begin) + " instead of " + std::to_string(covered));
    covered = entry->end;
  }
  if (covered != data_bytes)
    throw UserError({path, 0, ""},
                    "has " + std::to_string(data_bytes - covered) + " bytes behind the last tensor");
  return header;
}

}  // namespace ptq
