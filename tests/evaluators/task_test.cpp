// What tasks do with documents and scores, apart from lm-eval's own requests (golden_test.cpp).
#include "evaluators/task.h"

#include <gmock/gmock.h>

#include <cmath>
#include <map>

#include "core/error.h"
#include "evaluators/python_text.h"
#include "tests/support/task_fixture.h"

namespace ptq {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class Tasks : public test::TaskFixture {
 protected:
  std::unique_ptr<Task> make(const std::string& task, const std::string& lines) {
    write(lines);
    return TaskFixture::make(task);
  }
  std::string refusal(const std::string& task, const std::string& lines) {
    write(lines);
    return TaskFixture::refusal(task);
  }
};

std::vector<Score> scores(const std::vector<double>& values) {
  std::vector<Score> result;
  for (const double value : values) result.push_back({value, false});
  return result;
}

const char* const kPiqa =
    R"({"goal": "g", "sol1": "four", "sol2": "sixsix", "label": 0}
{"goal": "g", "sol1": "four", "sol2": "sixsix", "label": 1}
{"goal": "g", "sol1": "four", "sol2": "sixsix", "label": 0}
{"goal": "g", "sol1": "abcd", "sol2": "éé", "label": 1}
)";

TEST(Registry, TasksAreTheseAndNoOthers) {
  std::vector<std::string> names = TaskRegistry::get().names();
  const size_t all = names.size();
  std::erase_if(names, [](const std::string& name) { return name.starts_with("mmlu_"); });
  EXPECT_EQ(all - names.size(), 57u + 4u);  // subjects and groups
  EXPECT_EQ(names, (std::vector<std::string>{"alpaca_eval",    "arc_challenge",
                                             "arc_easy",       "boolq",
                                             "commonsense_qa", "gsm8k",
                                             "hellaswag",      "kl_divergence",
                                             "lambada_openai", "lambada_standard",
                                             "layer_analysis", "mmlu",
                                             "openbookqa",     "perplexity",
                                             "piqa",           "rte",
                                             "sglue_rte",      "token_divergence",
                                             "truthfulqa_mc1", "truthfulqa_mc2",
                                             "wikitext",       "winogrande"}));
  const std::map<std::string, std::string> main_metrics = {{"perplexity", "perplexity"},
                                                           {"wikitext", "word_perplexity"},
                                                           {"kl_divergence", "kl"},
                                                           {"layer_analysis", "block_cosine"},
                                                           {"token_divergence", "kl_calibration_test"},
                                                           {"gsm8k", "exact_match,strict-match"},
                                                           {"alpaca_eval", "avg_length"}};
  for (const std::string& name : TaskRegistry::get().names()) {
    const TaskEntry& entry = *TaskRegistry::get().find(name);
    EXPECT_FALSE(entry.help.empty()) << name;
    const auto metric = main_metrics.find(name);
    EXPECT_EQ(entry.main_metric, metric == main_metrics.end() ? "acc" : metric->second) << name;
    EXPECT_EQ(entry.looks_inside, name == "layer_analysis" || name == "token_divergence") << name;
    EXPECT_EQ(entry.is_text, name == "perplexity" || name == "kl_divergence" || entry.looks_inside) << name;
    EXPECT_EQ(entry.generates, name == "gsm8k" || name == "alpaca_eval") << name;
  }
}

TEST_F(Tasks, AccIsTheShareOfLikeliestChoicesThatAreRight) {
  // Right, wrong, a tie that goes to the first (right). By length (4 and 6; 4 and 2 code points, not bytes):
  // -4/4 > -6.3/6 right; -4/4 < -5/6 right; tie -1 > -0.667 no: wrong; -4/4 > -2.5/2: wrong. In bytes the
  // last choice is 4 long: -4/4 < -2.5/4 right.
  const auto metrics = make("piqa", kPiqa)->metrics(scores({-4, -6.3, -4, -5, -4, -4, -4, -2.5}));
  ASSERT_EQ(metrics.size(), 3u);
  EXPECT_EQ(metrics[0].name, "acc");
  EXPECT_DOUBLE_EQ(metrics[0].value, 0.75);
  EXPECT_EQ(metrics[0].count, 4);
  EXPECT_DOUBLE_EQ(metrics[0].stderr_, std::sqrt(0.75 * 0.25 / 3));  // sqrt(p (1 - p) / (n - 1))
  EXPECT_EQ(metrics[1].name, "acc_norm");
  EXPECT_DOUBLE_EQ(metrics[1].value, 0.5);
  EXPECT_EQ(metrics[2].name, "acc_bytes");
  EXPECT_DOUBLE_EQ(metrics[2].value, 0.75);  // in bytes the last document's choices are 4 and 4 long: right
}

TEST_F(Tasks, EqualChoicesShareOneRequestAndTheFirstWins) {
  const auto task = make("piqa", R"({"goal": "g", "sol1": "same", "sol2": "same", "label": 0})");
  EXPECT_EQ(task->requests().size(), 1u);
  const auto metrics = task->metrics(scores({-3}));
  EXPECT_EQ(metrics[0].value, 1.0);
  EXPECT_EQ(metrics[1].value, 1.0);
  EXPECT_EQ(metrics[0].stderr_, -1);  // one document: not defined
}

TEST_F(Tasks, ANumberThatIsNoneIsAFailure) {
  const auto task = make("piqa", kPiqa);
  std::vector<Score> broken = scores({-1, -1, -1, -1, -1, NAN, -1, -1});
  EXPECT_THROW(task->metrics(broken), UserError);
}

TEST_F(Tasks, LambadaCountsGreedyWordsAndOnePerplexityAWord) {
  const auto task = make("lambada_openai", "{\"text\": \"a b c\"}\n{\"text\": \"a b d\"}\n");
  const auto metrics = task->metrics({{-1.0, true}, {-3.0, false}});
  ASSERT_EQ(metrics.size(), 2u);
  EXPECT_EQ(metrics[0].name, "perplexity");
  EXPECT_DOUBLE_EQ(metrics[0].value, std::exp(2.0));
  EXPECT_DOUBLE_EQ(metrics[0].stderr_,
                   std::exp(2.0) * 1.0);  // sd of {-1, -3} = sqrt(2); over sqrt(2) documents
  EXPECT_EQ(metrics[1].name, "acc");
  EXPECT_DOUBLE_EQ(metrics[1].value, 0.5);
}

TEST_F(Tasks, Mc2IsTheShareOfProbabilityOnTrueAnswers) {
  const auto task =
      make("truthfulqa_mc2",
           R"({"question": "q?", "mc2_targets": {"choices": ["a", "b", "c"], "labels": [1, 0, 1]}})");
  const auto metrics = task->metrics(scores({std::log(0.1), std::log(0.5), std::log(0.4)}));
  EXPECT_NEAR(metrics[0].value, 0.5, 1e-15);
}

TEST_F(Tasks, LimitTakesTheFirstDocuments) {
  spec_.limit = 3;
  EXPECT_EQ(make("piqa", kPiqa)->requests().size(), 6u);
  spec_.limit = 99;
  EXPECT_EQ(make("piqa", kPiqa)->requests().size(), 8u);
  spec_.limit = -1;
  EXPECT_THAT(refusal("piqa", kPiqa), HasSubstr("limit is -1; allowed: 0 (all) or more"));
}

TEST_F(Tasks, LongContextsAreCutFromTheLeft) {
  positions_ = 24;
  const std::string longer =
      "{\"goal\": \"" + std::string(300, 'q') + "\", \"sol1\": \"a b\", \"sol2\": \"c\", \"label\": 0}";
  const auto requests = make("piqa", longer)->requests();
  positions_ = 4096;
  const auto whole = make("piqa", longer)->requests();
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(requests[i].ids.size(), 25u);  // the last is scored, not read
    EXPECT_TRUE(std::equal(requests[i].ids.rbegin(), requests[i].ids.rend(), whole[i].ids.rbegin()));
    EXPECT_EQ(whole[i].ids.size() - whole[i].from, requests[i].ids.size() - requests[i].from);
  }
}

TEST_F(Tasks, CutContextsAreCounted) {
  positions_ = 24;
  const std::string shorter = R"({"goal": "g", "sol1": "a b", "sol2": "c", "label": 0})";
  const std::string longer =
      "{\"goal\": \"" + std::string(300, 'q') + "\", \"sol1\": \"a b\", \"sol2\": \"c\", \"label\": 0}";
  const auto metrics = make("piqa", longer + "\n" + shorter)->metrics(scores({-1, -2, -1, -2}));
  EXPECT_EQ(metrics.back().name, "truncated");
  EXPECT_EQ(metrics.back().value, 2);  // the two choices of the first document
  EXPECT_EQ(metrics.back().count, 4);
  for (const Metric& metric : make("piqa", shorter)->metrics(scores({-1, -2})))
    EXPECT_NE(metric.name, "truncated");
}

TEST_F(Tasks, TooFewDocumentsForTheShotsAreNamed) {
  spec_.shots = 4;  // three others and the document itself
  EXPECT_THAT(refusal("piqa", kPiqa), HasSubstr("4 shots need 5 documents to draw from, there are 4"));
  spec_.shots = 3;
  EXPECT_THAT(refusal("piqa", kPiqa),
              HasSubstr("3 shots need 3 documents to draw from, there are 2"));  // two are equal
  spec_.shots = -2;
  EXPECT_THAT(refusal("piqa", kPiqa), HasSubstr("shots is -2"));
}

TEST_F(Tasks, BadDocumentsAreNamedByLineAndField) {
  const auto second = [&](const std::string& task, const std::string& first, const std::string& line) {
    return refusal(task, first + "\n" + line + "\n");
  };
  const std::string piqa = R"({"goal": "g", "sol1": "a", "sol2": "b", "label": 0})";
  EXPECT_THAT(second("piqa", piqa, R"({"goal": "g", "sol1": "a", "label": 0})"),
              HasSubstr(".jsonl:2: sol2: missing"));
  EXPECT_THAT(second("piqa", piqa, R"({"goal": 7, "sol1": "a", "sol2": "b", "label": 0})"),
              HasSubstr(":2: goal: a string is needed, this is number"));
  EXPECT_THAT(second("piqa", piqa, R"({"goal": "g", "sol1": "a", "sol2": "b", "label": 2})"),
              HasSubstr(":2: label: 2 is not the index of a choice; allowed: 0 to 1"));
  EXPECT_THAT(second("piqa", piqa, R"({"goal": "g", "sol1": "a", "sol2": "b", "label": 0.5})"),
              HasSubstr(":2: label: an integer"));
  EXPECT_THAT(second("piqa", piqa, R"({"goal": "g", "sol1": "a", "sol2": "b", "label": -1})"),
              HasSubstr(":2: label: -1"));
  EXPECT_THAT(
      second("piqa", piqa, R"({"goal": "g", "sol1": "a", "sol2": "b", "label": 18446744073709551615})"),
      HasSubstr(":2: label: out of range"));
  EXPECT_THAT(second("piqa", piqa, R"({"goal": "g", "sol1": "a", "sol2": "b", "label": true})"),
              HasSubstr(":2: label:"));

  const std::string arc =
      R"({"question": "q", "choices": {"text": ["a"], "label": ["A"]}, "answerKey": "A"})";
  EXPECT_THAT(
      second("arc_easy", arc, R"({"question": "q", "choices": {"text": [], "label": []}, "answerKey": "A"})"),
      HasSubstr(":2: choices.text: the list is empty"));
  EXPECT_THAT(second("arc_easy", arc, R"({"question": "q", "choices": ["a"], "answerKey": "A"})"),
              HasSubstr(":2: choices: an object is needed, this is array"));
  EXPECT_THAT(
      second("arc_easy", arc,
             R"({"question": "q", "choices": {"text": ["a", 1], "label": ["A", "B"]}, "answerKey": "A"})"),
      HasSubstr(":2: choices.text[1]: a string"));
  EXPECT_THAT(
      second("arc_easy", arc,
             R"({"question": "q", "choices": {"text": ["a", "b"], "label": ["A"]}, "answerKey": "A"})"),
      HasSubstr(":2: choices.label: has 1 labels for 2 choices"));
  EXPECT_THAT(
      second("arc_easy", arc,
             R"({"question": "q", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "C"})"),
      HasSubstr(":2: answerKey: is 'C'; allowed: A, B"));

  const std::string winogrande = R"({"sentence": "a _ b", "option1": "x", "option2": "y", "answer": "1"})";
  EXPECT_THAT(second("winogrande", winogrande,
                     R"({"sentence": "a b", "option1": "x", "option2": "y", "answer": "1"})"),
              HasSubstr(":2: sentence: has no blank '_'"));
  EXPECT_THAT(second("winogrande", winogrande,
                     R"({"sentence": "a _ b", "option1": "x", "option2": "y", "answer": ""})"),
              HasSubstr(":2: answer: is ''; allowed: \"1\", \"2\""));
  EXPECT_THAT(refusal("boolq", "\n"), HasSubstr("no documents for task 'boolq'"));

  EXPECT_THAT(second("piqa", piqa, R"({"goal": "g", "sol1": "a", "sol2": " \n", "label": 0})"),
              HasSubstr(":2: sol2: the choice is empty"));
  EXPECT_THAT(
      second("arc_easy", arc,
             R"({"question": "q", "choices": {"text": ["a", ""], "label": ["A", "B"]}, "answerKey": "A"})"),
      HasSubstr(":2: choices.text[1]: the choice is empty"));
  EXPECT_THAT(second("piqa", piqa, "{\"goal\": \"g\", \"sol1\": \"a\xff\"}"),
              HasSubstr(".jsonl:2: sol1: not UTF-8 at byte"));
  EXPECT_THAT(second("arc_easy", arc, "{\"choices\": {\"text\": [\"a\", \"\xc3\"]}}"),
              HasSubstr(".jsonl:2: choices.text[1]: not UTF-8"));
  EXPECT_THAT(second("piqa", piqa, "{\"goal\": \"g\xff"), HasSubstr(".jsonl:2: not UTF-8"));
  const std::string rte = R"({"sentence1": "a", "sentence2": "b", "label": 0})";
  EXPECT_THAT(second("rte", rte, R"({"sentence1": "a", "sentence2": "b", "label": -1})"),
              HasSubstr(":2: label: -1 is not the index of a choice"));
  EXPECT_THAT(second("rte", rte, R"({"premise": "a", "hypothesis": "b", "label": 0})"),
              HasSubstr(":2: sentence1: missing"));
  const auto csqa = [](const std::string& texts, const std::string& key) {
    return R"({"question": "q", "choices": {"text": [)" + texts + R"(]}, "answerKey": ")" + key + "\"}";
  };
  const std::string five = R"("a", "b", "c", "d", "e")";
  EXPECT_THAT(second("commonsense_qa", csqa(five, "E"), csqa(R"("a", "b", "c", "d")", "A")),
              HasSubstr(":2: choices.text: has 4 choices; 5 are needed"));
  EXPECT_THAT(second("commonsense_qa", csqa(five, "E"), csqa(five, "F")),
              HasSubstr(":2: answerKey: is 'F'; allowed: A, B, C, D, E"));
  EXPECT_THAT(second("wikitext", R"({"page": "a"})", R"({"page": ["a"]})"),
              HasSubstr(":2: page: a string is needed, this is array"));
  EXPECT_THAT(refusal("wikitext", R"({"page": ""})"), HasSubstr("page: all pages are empty"));
}

TEST_F(Tasks, AContinuationWithoutATokenOrTooLongIsRefused) {
  positions_ = 16;
  EXPECT_THAT(refusal("piqa", "{\"goal\": \"g\", \"sol1\": \"" + std::string(99, 'x') +
                                  "\", \"sol2\": \"b\", \"label\": 0}"),
              AllOf(HasSubstr(".jsonl:1: a continuation has"), HasSubstr("the model has 16 positions")));
}

TEST(PythonText, WhiteSpaceIsPythons) {
  EXPECT_EQ(length_without_trailing_space("a \t\n\x0b\x1f\u0085\u00a0\u2003\u3000"), 1u);
  EXPECT_EQ(length_without_trailing_space("a\u200b"), 4u);  // zero width space is none
  EXPECT_EQ(length_without_trailing_space(" \n"), 0u);
  EXPECT_EQ(stripped("\u2003 a b\u00a0"), "a b");
  EXPECT_EQ(count_code_points("aé😀"), 3u);
  EXPECT_EQ(count_split_by_space(""), 1u);
  EXPECT_EQ(count_split_by_space(" a\u00a0\n b "), 4u);  // "", a, b, ""
  EXPECT_EQ(replaced("a  b   c", "  ", " "), "a b  c");  // from the left, what was put in is not looked at
}

TEST(PythonText, CapitalLettersArePythons) {
  EXPECT_EQ(capitalized("the END of É"), "The end of é");
  EXPECT_EQ(capitalized("\u01c6X"), "\u01c5x");  // title case, not upper
  EXPECT_EQ(capitalized("\u00df\u00df"), "Ss\u00df");
  EXPECT_EQ(capitalized("\ufb03X"), "Ffix");
  EXPECT_EQ(capitalized("\u0130\u0130"), "\u0130i\u0307");
  EXPECT_EQ(capitalized(" aB"), " ab");
  EXPECT_EQ(capitalized(""), "");
}

}  // namespace
}  // namespace ptq
