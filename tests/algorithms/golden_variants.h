// The variants in a golden file of tools/gptq_golden.py: w4-g64-asym-act/codes, ...
#pragma once

#include <sstream>
#include <string>
#include <vector>

#include "models/safetensors.h"
#include "quant/spec.h"

namespace ptq::test {

struct GoldenVariant {
  std::string name;
  WeightSpec spec;
  bool act_order = false;
};

inline std::vector<GoldenVariant> golden_variants(const SafetensorsFile& file) {
  std::vector<GoldenVariant> variants;
  for (const std::string& tensor : file.names()) {
    const size_t slash = tensor.find('/');
    if (slash == std::string::npos || tensor.substr(slash) != "/codes") continue;
    GoldenVariant variant{.name = tensor.substr(0, slash), .spec = {}, .act_order = false};
    std::istringstream parts(variant.name);
    for (std::string part; std::getline(parts, part, '-');) {
      if (part == "sym" || part == "asym") variant.spec.symmetric = part == "sym";
      if (part == "channel") variant.spec.granularity = Granularity::channel;
      if (part == "act") variant.act_order = true;
      if (part[0] == 'w') variant.spec.bits = std::stoi(part.substr(1));
      if (part[0] == 'g') variant.spec.group_size = std::stoll(part.substr(1));
    }
    variants.push_back(variant);
  }
  return variants;
}

}  // namespace ptq::test
