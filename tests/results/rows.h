// Rows that the tests of results/ store.
#pragma once

#include <cmath>
#include <string>

#include "results/store.h"
#include "tests/support/temporary_folder.h"

namespace ptq::test {

inline Environment environment(int64_t ranks = 2) {
  return {"0123abc", "0.1.0", "2.13.0", "Some CPU", "AVX512", "", "node1", "Open MPI 4.1.4", ranks, 1};
}

inline CellRow done_cell(const std::string& key) {
  CellRow row;
  row.key = key;
  row.quantize_key = "q-" + key;
  row.cell = {{"model", "miniworld"}, {"method", "gptq"}, {"seed", 0}};
  row.checkpoint_digest = "c0";
  row.calibration_digest = "c1";
  row.evaluation_digest = "c2";
  row.status = "done";
  row.average_bits = 4.25;
  row.seconds = 1.5;
  row.peak_memory_bytes = 1 << 20;
  row.metrics = {{"perplexity", 5.61, -1, 1024}, {"acc", 0.5, 0.01, 500}};
  return row;
}

inline CellRow failed_cell(const std::string& key, const std::string& error) {
  CellRow row = done_cell(key);
  row.status = "failed";
  row.error = error;
  row.metrics.clear();
  return row;
}

inline QuantizationRow quantization(const std::string& key, const std::string& digest = "d0") {
  return {key, key + ".safetensors", digest, 4.25, 12.5, 2 << 20,
          {{"layers.10.q", "loss", 0.25}, {"layers.10.q", "damping", 0.01}, {"layers.2.q", "loss", std::nan("")}}};
}

}  // namespace ptq::test
