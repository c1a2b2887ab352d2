#include "harness/block_parts.h"

#include <filesystem>
#include <limits>

#include "core/error.h"
#include "core/log.h"

namespace ptq {

int64_t BlockParts::finished(int64_t layers) const {
  int64_t index = 0;
  std::error_code error;
  for (; index < layers && std::filesystem::exists(file(index), error); ++index) try {
      read(index);  // whole: a resumed block is checked to the last tensor
    } catch (const UserError& e) {
      log_warning(std::string("a finished block is computed again: ") + e.what());
      break;
    }
  return index;
}

void BlockParts::write(int64_t index, const Overlay& overlay, const BlockRecord& record) const {
  std::error_code error;
  std::filesystem::create_directories(folder(), error);
  const Json about = {
      {"metrics", to_json(record.metrics)}, {"bits", record.bits}, {"weights", record.weights}};
  write_overlay(file(index), overlay,
                {{"key", key_}, {"block", std::to_string(index)}, {"record", canonical(about)}});
}

std::shared_ptr<const OverlayFile> BlockParts::open(int64_t index) const {
  auto part = OverlayFile::open(file(index));
  std::map<std::string, std::string> metadata = part->metadata();
  if (metadata["key"] != key_ || metadata["block"] != std::to_string(index))
    throw UserError({file(index), 0, "key"}, "belongs to another quantization or block");
  return part;
}

Overlay BlockParts::read(int64_t index) const { return open(index)->all(); }

BlockRecord BlockParts::record(int64_t index) const {
  const Json about = Json::parse(open(index)->metadata().at("record"));
  return {layer_metrics_from_json(about["metrics"]), about["bits"], about["weights"]};
}

std::string BlockParts::merge(int64_t layers, const std::map<std::string, std::string>& metadata,
                              const Overlay& rest) const {
  std::vector<std::string> files;
  for (int64_t index = 0; index < layers; ++index) files.push_back(file(index));
  if (!rest.tensors.empty()) {
    files.push_back(folder() + "/rest.safetensors");
    write_overlay(files.back(), rest, {});
  }
  std::string digest = merge_overlays(files, artifact_, metadata);
  std::error_code ignored;  // what stays is only in the way of nobody
  std::filesystem::remove_all(folder(), ignored);
  return digest;
}

Json to_json(const std::vector<LayerMetric>& metrics) {
  Json rows = Json::array();
  for (const LayerMetric& m : metrics) rows.push_back({m.layer, m.name, m.value, m.step});
  return rows;
}

std::vector<LayerMetric> layer_metrics_from_json(const Json& value) {
  std::vector<LayerMetric> metrics;
  for (const Json& row : value)
    metrics.push_back({row[0], row[1],
                       row[2].is_null() ? std::numeric_limits<double>::quiet_NaN() : row[2].get<double>(),
                       row[3].get<int64_t>()});
  return metrics;
}

}  // namespace ptq
