// What tasks with generated answers make of texts, apart from lm-eval's own answers (decoding_test.cpp).
#include <gmock/gmock.h>

#include "evaluators/answers.h"
#include "tests/support/task_fixture.h"

namespace ptq {
namespace {

using ::testing::HasSubstr;

class Generative : public test::TaskFixture {
 protected:
  std::vector<Score> answered(const std::vector<std::string>& texts) const {
    std::vector<Score> scores;
    for (const std::string& text : texts)
      scores.push_back({.log_likelihood = -1, .greedy = true, .generated = tokenizer_->encode(text, false)});
    return scores;
  }
  // exact_match of one answer where the document's is `gold`: strict-match, flexible-extract.
  std::pair<double, double> match(const std::string& gold, const std::string& text) {
    write(Json{{"question", "How many?"}, {"answer", gold}}.dump() + "\n");
    const auto metrics = make("gsm8k")->metrics(answered({text}));
    return {metrics.at(0).value, metrics.at(1).value};
  }
};
const std::pair<double, double> both = {1, 1}, strict = {1, 0}, flexible = {0, 1}, neither = {0, 0};

TEST_F(Generative, Gsm8kTakesTheFirstMarkedAndTheLastNumber) {
  positions_ = 512;
  EXPECT_EQ(match("2 + 2 is 4.\n#### 4", "It is 2 + 2 = 4.\n#### 4"), both);
  EXPECT_EQ(match("#### 4", "#### 4, or 5"), strict);
  EXPECT_EQ(match("#### 4", "So it is 4"), flexible);
  EXPECT_EQ(match("#### 4", "It is four."), neither);
  EXPECT_EQ(match("#### 4", ""), neither);
  EXPECT_EQ(match("#### 4", "#### 5\n#### 4"), flexible);  // the first mark, the last number
  EXPECT_EQ(match("#### 4", "####4"), flexible);           // no space, no mark
  EXPECT_EQ(match("#### 4", "#### $ #### 4"), both);       // a mark without a number is none
}

TEST_F(Generative, Gsm8kOverlooksCommasDollarsAndAFullStopAtTheEnd) {
  positions_ = 512;
  EXPECT_EQ(match("#### 1,250", "#### 1250."), both);
  EXPECT_EQ(match("#### 1250", "#### 1,250"), both);
  EXPECT_EQ(match("#### 12", "He pays $12."), flexible);
  EXPECT_EQ(match("#### 12", "#### $12"), flexible);  // the mark's number begins with a digit
  EXPECT_EQ(match("#### -5", "#### -5"), both);
  EXPECT_EQ(match("#### 5", "#### -5"), neither);
  EXPECT_EQ(match("#### 0.5", "#### 0.5"), both);
  EXPECT_EQ(match("#### 5", "#### 5.0"), neither);  // compared as text
}

TEST_F(Generative, AnAnswerEndsBeforeTheFirstStopString) {
  positions_ = 512;
  EXPECT_EQ(match("#### 4", "#### 4\n\nQuestion: what? 9"), both);
  EXPECT_EQ(match("#### 4", "#### 4<|im_end|> 9"), both);
  EXPECT_EQ(match("#### 4", "Question: #### 4"), neither);
}

TEST_F(Generative, GenerationStopsAtAStopStringWhateverItsTokens) {
  const Answers answers({spec_, *tokenizer_, 512}, {"Question:"}, 7);
  EXPECT_EQ(answers.longest_context(), 505);
  const Generation generation = answers.generation();
  EXPECT_EQ(generation.most_tokens, 7);
  const auto ended = [&](const std::string& text) {
    return generation.ended(tokenizer_->encode(text, false));
  };
  EXPECT_FALSE(ended("It is 4. Question"));
  EXPECT_TRUE(ended("It is 4. Question:"));
  EXPECT_TRUE(ended("Question: "));
  EXPECT_FALSE(ended("Question: and then so much more that it has been left behind"));
  // The end-of-sequence token's text stops too.
  EXPECT_TRUE(generation.ended(std::vector<int32_t>{*tokenizer_->eos_id()}));
}

TEST_F(Generative, MaxTokensAreTheUsers) {
  spec_.max_tokens = 500;
  EXPECT_EQ(Answers({spec_, *tokenizer_, 512}, {}, 7).longest_context(), 12);
  write(R"({"question": "q", "answer": "#### 1"})");
  spec_.max_tokens = 256;
  EXPECT_THAT(refusal("gsm8k"), HasSubstr("max_tokens is 256; the model has 256 positions"));
}

TEST_F(Generative, AlpacaEvalKeepsWhatItsJudgeReads) {
  spec_.max_tokens = 16;
  write(R"({"instruction": "Say one.", "dataset": "koala"}
{"instruction": "Say two.", "dataset": "vicuna"}
)");
  const auto task = make("alpaca_eval");
  ASSERT_EQ(task->requests().size(), 2u);
  EXPECT_EQ(tokenizer_->decode(task->requests()[1].ids, true), "Say two.");
  const auto scores = answered({"one", "zwei é"});
  EXPECT_EQ(task->metrics(scores)[0].name, "avg_length");
  EXPECT_EQ(task->metrics(scores)[0].value, 4.5);
  Json rows = Json::array({Json::object(), Json::object()});
  for (const DocumentText& text : task->texts(scores)) rows.at(text.document)[text.name] = text.text;
  EXPECT_EQ(rows[1], (Json{{"instruction", "Say two."}, {"dataset", "vicuna"}, {"output", "zwei é"}}));
  // The hub's file is one list.
  const std::string list = path_ + ".json";
  spec_.path = list;
  std::ofstream(list) << R"([{"instruction": "Say one.", "dataset": "koala"},
                             {"instruction": "Say two.", "dataset": "vicuna"}])";
  EXPECT_EQ(make("alpaca_eval")->requests()[1].ids, task->requests()[1].ids);
  std::ofstream(list) << "[3]";
  EXPECT_THAT(refusal("alpaca_eval"), HasSubstr("[0]"));
  std::filesystem::remove(list);
  spec_.path = path_;
  spec_.shots = 1;
  EXPECT_THAT(refusal("alpaca_eval"), HasSubstr("shots are not read"));
  spec_.shots = 0;
  write(R"({"instruction": "Say one."})");
  EXPECT_THAT(refusal("alpaca_eval"), HasSubstr("dataset"));
}

}  // namespace
}  // namespace ptq
