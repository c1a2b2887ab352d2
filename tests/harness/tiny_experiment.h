// A folder with a random model, a text and documents, and experiments over them: the main job at a size for
// tests.
#pragma once

#include <string>

#include "tests/support/paths.h"
#include "tests/support/random_checkpoint.h"

namespace ptq::test {

inline void make_tiny_world(const std::string& dir) {
  make_random_checkpoint(dir + "/model",
                         {{"vocab_size", 256}, {"hidden_size", 64}, {"intermediate_size", 128}});
  std::string text;
  for (int i = 0; i < 400; ++i) text += "The cat number " + std::to_string(i * 37 % 101) + " sat on a mat.\n";
  write_text(dir + "/train.txt", text);
  write_text(dir + "/test.txt", text.substr(1000));
  std::string documents;
  for (int i = 0; i < 12; ++i)
    documents +=
        "{\"goal\": \"Count to " + std::to_string(i) +
        "\", \"sol1\": \"One, two.\", \"sol2\": \"No, thanks\", \"label\": " + std::to_string(i % 2) + "}\n";
  write_text(dir + "/piqa.jsonl", documents);
}

// Two bit widths x four methods x two calibration lengths, perplexity and a task: 30 cells. AWQ reads the full-precision stream (its
// bit widths are one unit), GPTQ and AWQ+GPTQ the quantized prefix, RTN nothing.
inline const char* tiny_yaml = R"(title: tiny
models: [{name: tiny, path: model}]
calibration:
  - {name: short, corpus: train.txt, samples: 4, length: 32}
  - {name: long, corpus: train.txt, samples: 2, length: 64}
methods: [rtn, gptq, awq, {name: awq+gptq, steps: [awq_scale, awq_clip, gptq], gptq: {act_order: true}}]
quantization:
  - {name: w4g32, weights: {bits: 4, group_size: 32}}
  - {name: w2g32, weights: {bits: 2, group_size: 32}}
evaluation:
  - {name: text, task: perplexity, corpus: test.txt, window: 64, windows: 8}
  - {name: piqa, task: piqa, documents: piqa.jsonl}
)";

}  // namespace ptq::test
