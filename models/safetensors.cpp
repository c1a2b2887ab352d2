#include "models/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "core/atomic_file.h"
#include "core/error.h"
#include "core/json.h"
#include "models/safetensors_header.h"

namespace ptq {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the format is little-endian and tensors are views of it");

struct Dtype {
  std::string_view name;
  at::ScalarType type;
};
constexpr Dtype tensor_dtypes[] = {{"F64", at::kDouble},    {"F32", at::kFloat}, {"F16", at::kHalf},
                                   {"BF16", at::kBFloat16}, {"I64", at::kLong},  {"I32", at::kInt},
                                   {"I16", at::kShort},     {"I8", at::kChar},   {"U8", at::kByte},
                                   {"BOOL", at::kBool}};

// A file mapped for reading, unmapped with its last user.
class Mapping {
 public:
  explicit Mapping(const std::string& path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) throw UserError({path, 0, ""}, std::string("cannot be opened: ") + std::strerror(errno));
    struct stat status {};
    const bool regular = ::fstat(file, &status) == 0 && S_ISREG(status.st_mode);
    size_ = regular ? size_t(status.st_size) : 0;
    stamp_ = {uint64_t(status.st_size), uint64_t(status.st_ino),
              status.st_mtim.tv_sec * 1'000'000'000LL + status.st_mtim.tv_nsec};
    if (size_ >= 8) data_ = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file, 0);
    const int error = errno;
    ::close(file);
    if (!regular) throw UserError({path, 0, ""}, "is not a regular file");
    if (size_ < 8)
      throw UserError({path, 0, ""},
                      "is not a safetensors file: " + std::to_string(size_) + " bytes (truncated?)");
    if (data_ == MAP_FAILED)
      throw UserError({path, 0, ""}, std::string("cannot be mapped: ") + std::strerror(error));
  }
  ~Mapping() {
    if (data_ != MAP_FAILED) ::munmap(data_, size_);
  }
  Mapping(const Mapping&) = delete;

  std::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }
  const FileStamp& stamp() const { return stamp_; }

 private:
  void* data_ = MAP_FAILED;
  size_t size_ = 0;
  FileStamp stamp_;
};

}  // namespace

struct SafetensorsFile::Impl {
  std::string path;
  std::shared_ptr<const Mapping> mapping;
  std::string_view data;  // what follows the header
  SafetensorsHeader header;
};

SafetensorsFile::SafetensorsFile() : impl_(std::make_unique<Impl>()) {}
SafetensorsFile::~SafetensorsFile() = default;

std::shared_ptr<const SafetensorsFile> SafetensorsFile::open(const std::string& path) {
  std::shared_ptr<SafetensorsFile> file(new SafetensorsFile);
  Impl& impl = *file->impl_;
  impl.path = path;
  impl.mapping = std::make_shared<const Mapping>(path);
  const std::string_view bytes = impl.mapping->bytes();
  uint64_t length;
  std::memcpy(&length, bytes.data(), 8);
  if (length > max_safetensors_header)
    throw UserError({path, 0, ""}, "is not a safetensors file: a header of " + std::to_string(length) +
                                       " bytes; allowed: at most " + std::to_string(max_safetensors_header));
  if (length > bytes.size() - 8)
    throw UserError({path, 0, ""}, "is truncated: a header of " + std::to_string(length) +
                                       " bytes in a file of " + std::to_string(bytes.size()));
  impl.data = bytes.substr(8 + length);
  impl.header = parse_safetensors_header(bytes.substr(8, length), impl.data.size(), impl.path);
  return file;
}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> result;
  for (const auto& [name, entry] : impl_->header.tensors) result.push_back(name);
  return result;
}

const SafetensorsEntry* SafetensorsFile::find(const std::string& name) const {
  const auto it = impl_->header.tensors.find(name);
  return it == impl_->header.tensors.end() ? nullptr : &it->second;
}

bool SafetensorsFile::contains(const std::string& name) const { return find(name) != nullptr; }
const std::map<std::string, std::string>& SafetensorsFile::metadata() const { return impl_->header.metadata; }
const std::string& SafetensorsFile::path() const { return impl_->path; }
std::string_view SafetensorsFile::bytes() const { return impl_->mapping->bytes(); }
const FileStamp& SafetensorsFile::stamp() const { return impl_->mapping->stamp(); }

at::Tensor SafetensorsFile::tensor(const std::string& name) const {
  const SafetensorsEntry* entry = find(name);
  if (!entry) throw UserError({impl_->path, 0, name}, "there is no such tensor");
  const auto dtype = std::find_if(std::begin(tensor_dtypes), std::end(tensor_dtypes),
                                  [&](const Dtype& candidate) { return candidate.name == entry->dtype; });
  if (dtype == std::end(tensor_dtypes)) {
    std::string allowed;
    for (const Dtype& known : tensor_dtypes)
      allowed += (allowed.empty() ? "" : ", ") + std::string(known.name);
    throw UserError({impl_->path, 0, name},
                    "is stored as " + entry->dtype + ", which is not read; allowed: " + allowed);
  }
  if (entry->begin == entry->end) return at::empty(entry->shape, dtype->type);
  char* const data =
      const_cast<char*>(impl_->data.data() + entry->begin);  // never written: from_blob knows no const
  if (reinterpret_cast<uintptr_t>(data) % at::elementSize(dtype->type) != 0) {
    at::Tensor copy = at::empty(entry->shape, dtype->type);
    std::memcpy(copy.data_ptr(), data, entry->end - entry->begin);
    return copy;
  }
  return at::from_blob(
      data, entry->shape, [mapping = impl_->mapping](void*) {}, at::TensorOptions(dtype->type));
}

FileStamp file_stamp(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return {};
  return {uint64_t(status.st_size), uint64_t(status.st_ino),
          status.st_mtim.tv_sec * 1'000'000'000LL + status.st_mtim.tv_nsec};
}

void write_safetensors(const std::string& path, const std::map<std::string, at::Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  using Item = std::pair<const std::string, at::Tensor>;
  std::vector<const Item*> order;
  for (const Item& item : tensors) order.push_back(&item);
  // Larger elements first keep every offset a multiple of its element's size without padding, which the
  // format forbids.
  std::stable_sort(order.begin(), order.end(), [](const Item* a, const Item* b) {
    return a->second.element_size() > b->second.element_size();
  });

  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const Item* item : order) {
    const auto& [name, tensor] = *item;
    PTQ_CHECK(name != "__metadata__", "is no tensor name");
    PTQ_CHECK(tensor.defined() && tensor.is_cpu() && tensor.is_contiguous(),
              "write_safetensors takes contiguous CPU tensors");
    const auto dtype =
        std::find_if(std::begin(tensor_dtypes), std::end(tensor_dtypes),
                     [&](const Dtype& candidate) { return candidate.type == tensor.scalar_type(); });
    PTQ_CHECK(dtype != std::end(tensor_dtypes), "dtype unknown to the safetensors format");
    const uint64_t end = offset + uint64_t(tensor.nbytes());
    header[name] = {{"dtype", std::string(dtype->name)},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  PTQ_CHECK(text.size() <= max_safetensors_header, "header too long");
  const uint64_t length = text.size();

  AtomicFile file(path);
  file.write(&length, 8);
  file.write(text.data(), text.size());
  for (const Item* item : order) file.write(item->second.data_ptr(), item->second.nbytes());
  file.commit();
}

}  // namespace ptq
