#include "models/checkpoint.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "core/error.h"
#include "core/log.h"
#include "models/config_reader.h"
#include "models/family.h"
#include "models/printable.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

const char* const single_name = "model.safetensors";
const char* const index_name = "model.safetensors.index.json";
const char* const embedding_name = "model.embed_tokens.weight";
const char* const head_name = "lm_head.weight";
constexpr size_t max_index_bytes = 256 << 20;

std::string text_of(at::IntArrayRef shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

// What is there instead of safetensors, and what to do about it.
[[noreturn]] void refuse_without_safetensors(const std::string& dir) {
  std::string torch_file, gguf_file, other_file;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(dir, error)) {
    const std::string name = entry.path().filename().string(), extension = entry.path().extension().string();
    if (extension == ".bin" || extension == ".pth" || extension == ".pt") torch_file = name;
    if (extension == ".gguf") gguf_file = name;
    if (extension == ".safetensors") other_file = name;
  }
  const std::string wanted = std::string("has neither ") + single_name + " nor " + index_name;
  if (!gguf_file.empty())
    throw UserError({dir, 0, ""}, wanted + "; convert " + gguf_file +
                                      ": tools/import_checkpoint.py --out DIR --gguf " + dir + "/" +
                                      gguf_file);
  if (!torch_file.empty())
    throw UserError(
        {dir, 0, ""},
        wanted + ", only pickled weights (" + torch_file +
            "), which are not read; convert them with transformers: "
            "AutoModelForCausalLM.from_pretrained(dir).save_pretrained(new_dir, safe_serialization=True)");
  if (!other_file.empty())
    throw UserError({dir, 0, ""}, wanted + "; " + other_file + " would have to be called " + single_name);
  throw UserError({dir, 0, ""}, wanted);
}

}  // namespace

std::shared_ptr<const Checkpoint> Checkpoint::open(const std::string& dir) {
  if (!fs::exists(dir)) throw UserError({dir, 0, ""}, "there is no such checkpoint directory");
  if (!fs::is_directory(dir))
    throw UserError({dir, 0, ""},
                    "is not a directory; allowed: a directory with config.json and model.safetensors");
  std::shared_ptr<Checkpoint> checkpoint(new Checkpoint);
  checkpoint->dir_ = dir;
  checkpoint->config_ = read_model_config(dir);
  std::ifstream config(dir + "/config.json", std::ios::binary);
  checkpoint->config_text_.assign(std::istreambuf_iterator<char>(config), {});
  if (fs::exists(dir + "/" + single_name)) {
    checkpoint->open_single(single_name);
  } else if (fs::exists(dir + "/" + index_name)) {
    checkpoint->open_shards(dir + "/" + index_name);
  } else {
    refuse_without_safetensors(dir);
  }
  checkpoint->untie_head_that_differs();
  checkpoint->check_tensors();
  return checkpoint;
}

void Checkpoint::open_single(const std::string& file) {
  files_ = {file};
  shards_ = {SafetensorsFile::open(dir_ + "/" + file)};
  for (const std::string& name : shards_[0]->names()) shard_of_[name] = 0;
}

void Checkpoint::open_shards(const std::string& index) {
  const Json object = read_checkpoint_json(index, max_index_bytes);
  const ConfigReader json(object, index);
  const ConfigReader map = json.object("weight_map");
  std::set<std::string> files;
  for (const auto& [name, value] : map.json().items()) {
    const std::string file = map.text_or(name, "");
    // A shard lies beside its index: a path in a downloaded file must not lead anywhere else.
    if (file.empty() || file == "." || file == ".." ||
        file.find_first_of(std::string("/\\\0", 3)) != std::string::npos)
      map.fail(name, "the shard '" + printable(file) + "' is not a plain file name");
    if (files.insert(file).second && !fs::is_regular_file(dir_ + "/" + file))
      map.fail(name, "the shard " + printable(file) + " is missing (incomplete download?)");
  }
  if (files.empty()) json.fail("weight_map", "is empty");
  files_.assign(files.begin(), files.end());
  std::map<std::string, size_t> position;
  for (const std::string& file : files_) {
    position[file] = shards_.size();
    shards_.push_back(SafetensorsFile::open(dir_ + "/" + file));
  }
  for (const auto& [name, value] : map.json().items()) {
    const size_t shard = position.at(value.get<std::string>());
    if (!shards_[shard]->contains(name)) map.fail(name, "is not in the shard " + files_[shard]);
    shard_of_[name] = shard;
  }
}

void Checkpoint::untie_head_that_differs() {
  if (!config_.tied_embeddings || !contains(head_name) || !contains(embedding_name)) return;
  const at::Tensor embedding = tensor(embedding_name), head = tensor(head_name);
  if (embedding.sizes() == head.sizes() && at::equal(embedding.to(head.scalar_type()), head)) return;
  log_warning(
      dir_ +
      ": tie_word_embeddings is true, but lm_head.weight differs from the embedding: the head is not tied");
  config_.tied_embeddings = false;
}

void Checkpoint::check_tensors() const {
  const std::string where = files_.size() == 1 ? dir_ + "/" + files_[0] : dir_;
  std::string first_missing;
  size_t missing = 0;
  const std::vector<NeededTensor> needed = FamilyRegistry::get().find(config_.family)->tensors(config_);
  for (const NeededTensor& tensor : needed) {
    const auto it = shard_of_.find(tensor.name);
    if (it == shard_of_.end()) {
      if (missing++ == 0) first_missing = tensor.name;
      continue;
    }
    const SafetensorsEntry& entry = *shards_[it->second]->find(tensor.name);
    const std::string& path = shards_[it->second]->path();
    if (entry.dtype != "F32" && entry.dtype != "F16" && entry.dtype != "BF16")
      throw UserError({path, 0, tensor.name},
                      "is stored as " + entry.dtype + "; allowed for weights: F32, F16, BF16");
    if (entry.shape != tensor.shape)
      throw UserError({path, 0, tensor.name}, "has the shape " + text_of(entry.shape) +
                                                  ", config.json implies " + text_of(tensor.shape));
  }
  if (missing == 0) return;
  std::string why;
  if (!contains(embedding_name) && contains("embed_tokens.weight"))
    why = "; the names lack the prefix 'model.': saved from the model without its head, save the " +
          FamilyRegistry::get().find(config_.family)->architecture + " instead";
  else if (missing == 1 && first_missing == head_name)
    why = "; a model whose head is the embedding says tie_word_embeddings: true in config.json";
  else if (missing > 1)
    why = " (and " + std::to_string(missing - 1) + " more of " + std::to_string(needed.size()) + ")";
  throw UserError({where, 0, first_missing}, "the tensor is missing" + why);
}

bool Checkpoint::contains(const std::string& name) const { return shard_of_.count(name) > 0; }

at::Tensor Checkpoint::tensor(const std::string& name) const {
  const auto it = shard_of_.find(name);
  if (it == shard_of_.end()) throw UserError({dir_, 0, name}, "the checkpoint has no such tensor");
  return shards_[it->second]->tensor(name);
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> result;
  for (const auto& [name, shard] : shard_of_) result.push_back(name);
  return result;
}

}  // namespace ptq
