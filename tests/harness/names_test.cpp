// What the program offers by name. A new file that registers itself changes a list here, and nothing else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "algorithms/method.h"
#include "datasets/calibration_preset.h"
#include "models/family.h"
#include "reports/table.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;

TEST(Names, OfStepsMethodsPresetsFormatsAndFamilies) {
  EXPECT_THAT(
      StepRegistry::get().names(),
      ElementsAre("ada_dim", "awq_clip", "awq_scale", "dgq", "gptq", "hqq", "l2qer", "lqer", "magnitude",
                  "minmax", "minmax_real", "mse", "os_plus", "output_sensitivity", "owq", "quarot", "quik",
                  "quip", "quip_scale", "rtn", "shortgpt", "signround", "smooth_quant", "spqr", "wanda"));
  EXPECT_THAT(MethodRegistry::get().names(),
              ElementsAre("ada_dim", "awq", "dgq", "gptq", "hqq", "l2qer", "lqer", "magnitude", "os_plus",
                          "owq", "quarot", "quarot+gptq", "quik", "quip", "rtn", "shortgpt", "signround",
                          "smooth_quant", "spqr", "wanda"));
  EXPECT_THAT(CalibrationPresets::get().names(),
              ElementsAre("awq", "chat", "corpus_mix", "gptq", "lqer", "random_windows", "shuffled_tokens",
                          "signround", "truncated_documents", "windows"));
  EXPECT_THAT(RendererRegistry::get().names(), ElementsAre("csv", "latex", "markdown", "terminal"));
  EXPECT_THAT(FamilyRegistry::get().names(), ElementsAre("llama", "mistral", "qwen2"));
}

}  // namespace
}  // namespace ptq
