// Sequences packed in one row that share their beginnings: the forest itself, attention in it, and a whole
// model.
#include "models/token_forest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "core/rng.h"
#include "models/attention.h"
#include "models/attention_tiles.h"
#include "models/decoder.h"
#include "tests/support/paths.h"

namespace ptq {
namespace {

using Sequence = std::vector<int32_t>;

std::vector<int64_t> values(const at::Tensor& tensor) {
  const at::Tensor wide = tensor.to(at::kLong).flatten().contiguous();
  return {wide.const_data_ptr<int64_t>(), wide.const_data_ptr<int64_t>() + wide.numel()};
}

struct Packed {
  TokenForest forest;
  std::vector<std::vector<int64_t>> tokens;  // of each sequence
};

Packed pack(const std::vector<Sequence>& sequences) {
  TokenForestBuilder builder;
  Packed result;
  for (const Sequence& sequence : sequences) {
    const auto tokens = builder.add(sequence);
    result.tokens.emplace_back(tokens.begin(), tokens.end());
  }
  result.forest = builder.finish();
  return result;
}

// A question with two choices, one of them twice, inside another; then a sequence that shares nothing.
const std::vector<Sequence> example = {{7, 8}, {7, 8, 1}, {7, 8, 1}, {7, 8, 2, 3}, {9}};

TEST(TokenForest, BeginningsAreStoredOnce) {
  const Packed packed = pack(example);
  EXPECT_EQ(values(packed.forest.ids_1T), (std::vector<int64_t>{7, 8, 1, 2, 3, 9}));
  EXPECT_EQ(values(packed.forest.position_T), (std::vector<int64_t>{0, 1, 2, 2, 3, 0}));
  EXPECT_EQ(values(packed.forest.end_T), (std::vector<int64_t>{5, 5, 3, 5, 5, 6}));
  EXPECT_EQ(packed.forest.trees, (std::vector<int64_t>{0, 5}));
  EXPECT_EQ(packed.tokens[0], (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(packed.tokens[2], (std::vector<int64_t>{0, 1, 2}));
  EXPECT_EQ(packed.tokens[3], (std::vector<int64_t>{0, 1, 3, 4}));
  EXPECT_TRUE(packed.forest.branches);
}

TEST(TokenForest, OneSequenceDoesNotBranch) {
  EXPECT_FALSE(pack({{4, 5}, {4, 5, 6}, {4, 5, 6}}).forest.branches);
  EXPECT_TRUE(pack({{4, 5, 6}, {4, 5}, {4, 5, 6}}).forest.branches);  // out of order: stored again
  EXPECT_THROW(TokenForestBuilder().finish(), InternalError);
}

// Sequences of some lengths, many of which begin like another, in order.
std::vector<Sequence> random_sequences(size_t count, size_t longest, int32_t vocabulary) {
  const CounterRng rng(5, "forest test");
  std::vector<Sequence> result;
  uint64_t at = 0;
  while (result.size() < count) {
    Sequence sequence;
    if (!result.empty() && rng.below(at++, 3) > 0) {
      const Sequence& other = result[rng.below(at++, result.size())];
      sequence.assign(other.begin(), other.begin() + 1 + int64_t(rng.below(at++, other.size())));
    }
    const size_t more = 1 + rng.below(at++, longest / 2);
    for (size_t i = 0; i < more && sequence.size() < longest; ++i)
      sequence.push_back(int32_t(rng.below(at++, uint64_t(vocabulary))));
    result.push_back(std::move(sequence));
  }
  std::sort(result.begin(), result.end());
  return result;
}

double difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

TEST(TokenForest, AttentionIsThatOfEverySequenceAlone) {
  struct Shape {
    size_t count, longest;
    int64_t heads, kv_heads, head_dim, window;
  };
  const at::Generator seeded = at::detail::createCPUGenerator(4);
  for (const Shape& s : {Shape{60, 90, 6, 2, 32, 0}, Shape{60, 90, 4, 4, 16, 0}, Shape{9, 700, 4, 1, 64, 0},
                         Shape{60, 90, 4, 2, 48, 20}, Shape{12, 400, 2, 2, 64, 150},
                         Shape{30, 40, 4, 2, 20, 0}, Shape{30, 40, 4, 2, 20, 9}, Shape{3, 4, 2, 1, 16, 0}}) {
    const Packed packed = pack(random_sequences(s.count, s.longest, 1000));
    const int64_t tokens = packed.forest.tokens();
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const auto random = [&](int64_t heads) {
        return at::randn({1, tokens, heads, s.head_dim}, seeded, at::kFloat).to(dtype);
      };
      const at::Tensor q = random(s.heads), k = random(s.kv_heads), v = random(s.kv_heads);
      const at::Tensor y = forest_attention(q, k, v, s.window, packed.forest);
      for (const auto& path : packed.tokens) {
        const at::Tensor rows = at::tensor(path);
        const auto of = [&](const at::Tensor& x) { return x.index_select(1, rows); };
        const at::Tensor alone = causal_attention(of(q), of(k), of(v), s.window);
        EXPECT_LT(difference(of(y), alone), dtype == at::kFloat ? 2e-6 : 0.03)
            << s.longest << " " << s.head_dim << " " << s.window;
        // By tiles both, from 16 queries on.
        if (attention_tiles_serve(dtype, s.head_dim) && tokens >= 16 && path.size() >= 16) {
          EXPECT_TRUE(at::equal(of(y), alone)) << s.longest << " " << s.head_dim << " " << s.window;
        }
      }
    }
  }
}

TEST(TokenForest, AModelReadsItAsEverySequenceAlone) {
  for (const char* name : {"llama_gqa_tied", "mistral_window"}) {
    const std::string dir = test::project_path(std::string("tests/models/golden/logits/") + name);
    PTQ_NEEDS_FILE(dir);
    const c10::InferenceMode no_grad;
    const DecoderModel model(Checkpoint::open(dir), at::kFloat);
    const Packed packed = pack(random_sequences(20, 40, int32_t(model.config().vocab_size)));
    const auto forest = std::make_shared<const TokenForest>(packed.forest);
    const at::Tensor hidden_TD = model.hidden(forest->ids_1T, forest_context(model, forest))[0];
    for (const auto& path : packed.tokens) {
      const at::Tensor rows = at::tensor(path);
      const at::Tensor alone_TD = model.hidden(forest->ids_1T.index_select(1, rows))[0];
      EXPECT_LT(difference(hidden_TD.index_select(0, rows), alone_TD), 1e-5) << name;
    }
  }
}

TEST(TargetLogLikelihoods, RepeatedRowsInAnyOrderAreThoseOfTheSequence) {
  const c10::InferenceMode no_grad;
  const DecoderModel model(Checkpoint::open(test::project_path("tests/models/golden/logits/llama_gqa_tied")),
                           at::kFloat);
  const at::Tensor ids_T = at::arange(1, 41);
  const at::Tensor hidden_TD = model.hidden(ids_T.unsqueeze(0))[0];
  at::Tensor greedy_T, greedy_P;
  const at::Tensor expected_T = token_log_likelihoods(model, hidden_TD, ids_T, 1, &greedy_T);
  std::vector<int64_t> rows, targets;
  for (int64_t i = 0; i < 600; ++i) {
    rows.push_back(i * 7 % 39);
    targets.push_back(rows.back() + 2);  // ids_T[row + 1]
  }
  const at::Tensor values_P = target_log_likelihoods(model, hidden_TD, rows, targets, &greedy_P);
  for (size_t p = 0; p < rows.size(); ++p) {
    EXPECT_NEAR(values_P[int64_t(p)].item<double>(), expected_T[rows[p]].item<double>(), 1e-5);
    EXPECT_EQ(greedy_P[int64_t(p)].item<bool>(), greedy_T[rows[p]].item<bool>());
  }
}

}  // namespace
}  // namespace ptq
