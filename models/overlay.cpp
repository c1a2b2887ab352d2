#include "models/overlay.h"

#include <array>

#include "core/error.h"
#include "core/json.h"
#include "core/sha256.h"
#include "quant/packing.h"

// Layout: one safetensors file with
//   linear/<name>/codes   uint8 [O, bytes of a packed row]         linear/<name>/scale, zero   float32 [O, G]
//                         (of ScaleFormat::power_of_two and e4m3: their codes, uint8 [O, G], no zeros; e4m3 also
//                         tensor_scale, float32 [1])
//   linear/<name>/groups  int64 [I], only where groups are not consecutive columns
//   linear/<name>/positions, values, columns, column_values, and input_left, input_right, output_left, output_right: what
//                         QuantizedWeight keeps beside its grid, where it does
//   tensor/<full name>    a replaced tensor, in its own dtype
// and metadata: format, linears (JSON: bits, columns, columns_per_group, qmin, qmax of each; of elements that are not whole numbers
// also element: [exponent bits, mantissa bits, bias, max]; of scales that are codes scale_format and scale_bits; of groups stored in
// other ways group_bits), checksum, and the caller's.

namespace ptq {
namespace {

const char* const format_name = "harness-overlay-1";
const char* scale_format_name(ScaleFormat format) {
  return format == ScaleFormat::e4m3 ? "e4m3" : format == ScaleFormat::power_of_two ? "power_of_two" : "real";
}

const char* const reserved[] = {"format", "linears", "checksum"};

// The tensors that a weight may keep beside its grid, by their names in the file.
template <typename Weight>  // QuantizedWeight, const or not
auto side_tensors(Weight& weight) {
  return std::array{std::pair{"positions", &weight.positions_N},
                    std::pair{"values", &weight.values_N},
                    std::pair{"columns", &weight.columns_C},
                    std::pair{"column_values", &weight.columns_OC},
                    std::pair{"input_left", &weight.input_rotation.left_AA},
                    std::pair{"input_right", &weight.input_rotation.right_BB},
                    std::pair{"output_left", &weight.output_rotation.left_AA},
                    std::pair{"output_right", &weight.output_rotation.right_BB}};
}

// SHA-256 over every tensor (name, dtype, shape, bytes) and the metadata but the checksum itself.
std::string checksum(const std::map<std::string, at::Tensor>& tensors, const std::map<std::string, std::string>& metadata) {
  Sha256 hash;
  for (const auto& [key, value] : metadata) {
    if (key != "checksum") hash.update(canonical(Json::array({key, value})));
  }
  for (const auto& [name, tensor] : tensors) {
    hash.update(canonical(Json::array({name, c10::toString(tensor.scalar_type()), tensor.sizes().vec()})));
    hash.update(tensor.const_data_ptr(), tensor.nbytes());
  }
  return hash.hex();
}

// The width of consecutive groups, or 0 when the groups are something else.
int64_t consecutive_width(const at::Tensor& group_of_column_I) {
  const int64_t width = (group_of_column_I == 0).sum().item<int64_t>();
  if (width == 0) return 0;
  return at::equal(consecutive_groups(group_of_column_I.size(0), width), group_of_column_I) ? width : 0;
}

class Reader {
 public:
  Reader(const std::string& path, const SafetensorsFile& file) : path_(path), file_(file) {}

  [[noreturn]] void fail(const std::string& key, const std::string& message) const {
    throw UserError({path_, 0, key}, message);
  }

  at::Tensor tensor(const std::string& name, at::ScalarType dtype, at::IntArrayRef shape) const {
    if (!file_.contains(name)) fail(name, "is missing from the overlay");
    at::Tensor value = file_.tensor(name);
    if (value.scalar_type() != dtype || value.sizes() != shape) fail(name, "has another dtype or shape than the overlay says");
    return value;
  }

  QuantizedWeight weight(const std::string& name, const Json& about) const {
    const std::string prefix = "linear/" + name + "/";
    QuantizedWeight result;
    QuantGrid& grid = result.grid;
    int64_t columns = 0, width = 0;
    try {
      if (about.contains("element")) {
        const Json& e = about["element"];
        grid.element = {e.at(0).get<int>(), e.at(1).get<int>(), e.at(2).get<int>(), e.at(3).get<float>()};
      }
      const std::string scale_format = about.value("scale_format", "real");
      for (const ScaleFormat format : {ScaleFormat::power_of_two, ScaleFormat::e4m3})
        if (scale_format == scale_format_name(format)) grid.scale_format = format;
      grid.scale_bits = about.value("scale_bits", 16);
      grid.group_bits = about.value("group_bits", 0.0);
      if (scale_format != scale_format_name(grid.scale_format)) fail(name, "has scales of an unknown format");
      result.bits = about.at("bits");
      result.grid.qmin = about.at("qmin");
      result.grid.qmax = about.at("qmax");
      columns = about.at("columns");
      width = about.at("columns_per_group");
    } catch (const Json::exception&) {
      fail(name, "is described wrongly in the overlay's metadata");
    }
    if (result.bits < 1 || result.bits > 8 || columns < 1 || width < 0) fail(name, "has senseless bits or columns");
    if (!file_.contains(prefix + "codes") || !file_.contains(prefix + "scale")) fail(name, "is missing from the overlay");
    const int64_t rows = file_.tensor(prefix + "codes").size(0);
    const at::Tensor packed = tensor(prefix + "codes", at::kByte, {rows, (columns * result.bits + 7) / 8});
    const at::Tensor scale = file_.tensor(prefix + "scale");
    const int64_t groups = scale.size(-1), scale_rows = scale.size(0) == 1 ? 1 : rows;
    result.codes_OI = unpack_codes(packed, result.bits, columns);
    if (grid.scale_format == ScaleFormat::real) {
      grid.scale_OG = tensor(prefix + "scale", at::kFloat, {scale_rows, groups}).clone();
      grid.zero_OG = tensor(prefix + "zero", at::kFloat, {scale_rows, groups}).clone();
    } else {
      if (grid.scale_format == ScaleFormat::e4m3)
        grid.tensor_scale = tensor(prefix + "tensor_scale", at::kFloat, {1}).item<float>();
      grid.scale_OG =
          scales_of_codes(tensor(prefix + "scale", at::kByte, {scale_rows, groups}), grid.scale_format, grid.tensor_scale);
      grid.zero_OG = at::zeros_like(grid.scale_OG);
    }
    result.grid.group_of_column_I =
        width > 0 ? consecutive_groups(columns, width) : tensor(prefix + "groups", at::kLong, {columns}).clone();
    if (result.grid.group_of_column_I.min().item<int64_t>() < 0 ||
        result.grid.group_of_column_I.max().item<int64_t>() >= groups)
      fail(name, "has a column in a group that is not there");
    for (const auto& [part, kept] : side_tensors(result))
      if (file_.contains(prefix + part)) *kept = file_.tensor(prefix + part).clone();
    check_sides(name, result, rows, columns);
    return result;
  }

 private:
  void check_sides(const std::string& name, const QuantizedWeight& weight, int64_t rows, int64_t columns) const {
    const auto is = [](const at::Tensor& value, at::ScalarType dtype, at::IntArrayRef shape) {
      return value.defined() && value.scalar_type() == dtype && value.sizes() == shape;
    };
    const auto indexes = [&](const at::Tensor& value, int64_t end) {
      if (!value.defined()) return true;
      return value.dim() == 1 && is(value, at::kLong, {value.size(0)}) &&
             (value.numel() == 0 || (value.min().item<int64_t>() >= 0 && value.max().item<int64_t>() < end));
    };
    const auto along = [&](const at::Tensor& value, const at::Tensor& indexes, at::IntArrayRef shape) {
      return indexes.defined() ? is(value, at::kFloat, shape) : !value.defined();
    };
    const auto turns = [&](const Rotation& rotation, int64_t size) {
      for (const at::Tensor* factor : {&rotation.left_AA, &rotation.right_BB})
        if (factor->defined() && (factor->dim() != 2 || factor->size(0) < 1 || !is(*factor, at::kFloat, {factor->size(0), factor->size(0)}) ||
                                  size % factor->size(0) != 0))
          return false;
      return !rotation.left_AA.defined() || !rotation.right_BB.defined() ||
             rotation.left_AA.size(0) * rotation.right_BB.size(0) == size;
    };
    const int64_t singles = weight.positions_N.defined() ? weight.positions_N.numel() : 0;
    const int64_t whole = weight.columns_C.defined() ? weight.columns_C.numel() : 0;
    if (!indexes(weight.positions_N, rows * columns) || !indexes(weight.columns_C, columns) ||
        !along(weight.values_N, weight.positions_N, {singles}) || !along(weight.columns_OC, weight.columns_C, {rows, whole}))
      fail(name, "has weights beside its grid that do not fit it");
    if (!turns(weight.input_rotation, columns) || !turns(weight.output_rotation, rows))
      fail(name, "has a rotation that does not fit it");
  }

  const std::string& path_;
  const SafetensorsFile& file_;
};

}  // namespace

namespace {

// Adds the file's own metadata and writes.
void write_tensors(const std::string& path, const std::map<std::string, at::Tensor>& tensors, const Json& linears,
                   const std::map<std::string, std::string>& metadata) {
  std::map<std::string, std::string> all = metadata;
  for (const char* key : reserved) PTQ_CHECK(!metadata.count(key), "metadata key that overlays use themselves");
  all["format"] = format_name;
  all["linears"] = canonical(linears);
  all["checksum"] = checksum(tensors, all);
  write_safetensors(path, tensors, all);
}

// An open overlay whose checksum holds.
struct CheckedFile {
  std::shared_ptr<const SafetensorsFile> file;
  std::map<std::string, at::Tensor> tensors;
  Json linears;
};

CheckedFile open_checked(const std::string& path) {
  CheckedFile result;
  result.file = SafetensorsFile::open(path);
  const std::map<std::string, std::string>& about = result.file->metadata();
  const auto fail = [&](const std::string& key, const std::string& message) { throw UserError({path, 0, key}, message); };
  const auto text = [&](const std::string& key) {
    const auto it = about.find(key);
    return it == about.end() ? std::string() : it->second;
  };
  if (text("format") != format_name) fail("format", std::string("is no overlay of this program (allowed: ") + format_name + ")");
  for (const std::string& name : result.file->names()) result.tensors[name] = result.file->tensor(name);
  if (checksum(result.tensors, about) != text("checksum")) fail("checksum", "does not match the contents: the file is damaged");
  result.linears = Json::parse(text("linears"), nullptr, false);
  if (!result.linears.is_object()) fail("linears", "is no JSON object");
  return result;
}

}  // namespace

void write_overlay(const std::string& path, const Overlay& overlay, const std::map<std::string, std::string>& metadata) {
  std::map<std::string, at::Tensor> tensors;
  Json linears = Json::object();
  for (const auto& [name, weight] : overlay.linears) {
    const std::string prefix = "linear/" + name + "/";
    const int64_t width = consecutive_width(weight.grid.group_of_column_I);
    tensors[prefix + "codes"] = pack_codes(weight.codes_OI, weight.bits);
    const QuantGrid& grid = weight.grid;
    if (grid.scale_format == ScaleFormat::real) {
      tensors[prefix + "scale"] = grid.scale_OG.to(at::kFloat).contiguous();
      tensors[prefix + "zero"] = grid.zero_OG.to(at::kFloat).contiguous();
    } else {
      tensors[prefix + "scale"] = scale_codes(grid).contiguous();
      if (grid.scale_format == ScaleFormat::e4m3)
        tensors[prefix + "tensor_scale"] = at::full({1}, grid.tensor_scale, at::kFloat);
    }
    for (const auto& [part, kept] : side_tensors(weight))
      if (kept->defined()) tensors[prefix + part] = kept->contiguous();
    if (width == 0) tensors[prefix + "groups"] = weight.grid.group_of_column_I.to(at::kLong).contiguous();
    linears[name] = {{"bits", weight.bits},
                     {"qmin", weight.grid.qmin},
                     {"qmax", weight.grid.qmax},
                     {"columns", weight.codes_OI.size(1)},
                     {"columns_per_group", width}};
    const ElementFormat& e = grid.element;
    if (e.is_float()) linears[name]["element"] = {e.exponent_bits, e.mantissa_bits, e.bias, e.max};
    if (grid.group_bits > 0) linears[name]["group_bits"] = grid.group_bits;
    if (grid.scale_format != ScaleFormat::real)
      linears[name].update({{"scale_format", scale_format_name(grid.scale_format)}, {"scale_bits", grid.scale_bits}});
  }
  for (const auto& [name, tensor] : overlay.tensors) tensors["tensor/" + name] = tensor.contiguous();
  write_tensors(path, tensors, linears, metadata);
}

std::string merge_overlays(const std::vector<std::string>& parts, const std::string& path,
                           const std::map<std::string, std::string>& metadata) {
  std::vector<CheckedFile> open;  // keeps the mappings
  std::map<std::string, at::Tensor> tensors;
  Json linears = Json::object();
  for (const std::string& part : parts) {
    open.push_back(open_checked(part));
    for (const auto& [name, tensor] : open.back().tensors) PTQ_CHECK(tensors.emplace(name, tensor).second, name);
    linears.update(open.back().linears);
  }
  write_tensors(path, tensors, linears, metadata);
  return checksum(tensors, {{"format", format_name}, {"linears", canonical(linears)}});
}

struct OverlayFile::Impl {
  std::string path;
  CheckedFile checked;
};

OverlayFile::OverlayFile() = default;
OverlayFile::~OverlayFile() = default;

std::shared_ptr<const OverlayFile> OverlayFile::open(const std::string& path) {
  std::shared_ptr<OverlayFile> result(new OverlayFile);
  result->impl_ = std::make_unique<Impl>(Impl{path, open_checked(path)});
  return result;
}

std::map<std::string, std::string> OverlayFile::metadata() const {
  std::map<std::string, std::string> metadata = impl_->checked.file->metadata();
  for (const char* key : reserved) metadata.erase(key);
  return metadata;
}

Overlay OverlayFile::where(const std::function<bool(const std::string& name)>& wanted) const {
  const Reader reader(impl_->path, *impl_->checked.file);
  Overlay overlay;
  for (const auto& [name, description] : impl_->checked.linears.items())
    if (wanted(name)) overlay.linears[name] = reader.weight(name, description);
  const std::string prefix = "tensor/";
  for (const auto& [stored, tensor] : impl_->checked.tensors) {
    if (stored.rfind(prefix, 0) != 0) continue;
    const std::string name = stored.substr(prefix.size());
    if (wanted(name)) overlay.tensors[name] = tensor;
  }
  return overlay;
}

Overlay OverlayFile::block(int64_t index) const {
  return where([prefix = "model.layers." + std::to_string(index) + "."](const std::string& name) {
    return name.rfind(prefix, 0) == 0;
  });
}
Overlay OverlayFile::rest() const {
  return where([](const std::string& name) { return name.rfind("model.layers.", 0) != 0; });
}
Overlay OverlayFile::all() const {
  return where([](const std::string&) { return true; });
}

Overlay read_overlay(const std::string& path, std::map<std::string, std::string>* metadata) {
  const auto file = OverlayFile::open(path);
  if (metadata) *metadata = file->metadata();
  return file->all();
}

}  // namespace ptq
