// WikiText by lm-eval's rolling log-likelihood: each page, with WikiText's spaced-out marks put right, is
// scored whole, in disjoint windows as long as the model's positions; a window's first token is predicted
// from the one before it, the page's first from the prefix token (BOS, else EOS). Field: page. Perplexities a
// word and a byte of the page as it is in the file, so that they compare across tokenizers.
#include <algorithm>
#include <initializer_list>
#include <numeric>

#include "core/error.h"
#include "datasets/data_files.h"
#include "evaluators/fields.h"
#include "evaluators/metrics.h"
#include "evaluators/python_text.h"
#include "evaluators/request_builder.h"
#include "evaluators/shots.h"

namespace ptq {
namespace {

// What stands between `open` and the next `close` loses the white space at its ends.
std::string tightened(const std::string& text, char open, char close) {
  std::string result;
  size_t begin = 0;
  for (;;) {
    const size_t from = text.find(open, begin);
    const size_t to = from == std::string::npos ? from : text.find(close, from + 1);
    if (to == std::string::npos) break;
    result += text.substr(begin, from + 1 - begin) + stripped(text.substr(from + 1, to - from - 1)) + close;
    begin = to + 1;
  }
  return result + text.substr(begin);
}

// lm-eval's pattern /' [0-9]/ keeps its slashes, and what it puts there is text: wrong, and kept so.
std::string slashed_digits(const std::string& text) {
  std::string result;
  for (size_t i = 0; i < text.size();) {
    const bool matches = text.compare(i, 3, "/' ") == 0 && i + 4 < text.size() && text[i + 3] >= '0' &&
                         text[i + 3] <= '9' && text[i + 4] == '/';
    result += matches ? std::string("/'[0-9]/") : std::string(1, text[i]);
    i += matches ? 5 : 1;
  }
  return result;
}

std::string detokenized(const std::string& page) {
  std::string text = slashed_digits(replaced(page, "s '", "s'"));
  const auto replace = [&](std::initializer_list<std::pair<const char*, const char*>> pairs) {
    for (const auto& [from, to] : pairs) text = replaced(text, from, to);
  };
  replace({{" @-@ ", "-"},
           {" @,@ ", ","},
           {" @.@ ", "."},
           {" : ", ": "},
           {" ; ", "; "},
           {" . ", ". "},
           {" ! ", "! "},
           {" ? ", "? "},
           {" , ", ", "}});
  for (const auto& [open, close] : {std::pair('(', ')'), {'[', ']'}, {'{', '}'}, {'"', '"'}, {'\'', '\''}})
    text = tightened(text, open, close);
  replace({{"= = = =", "===="},
           {"= = =", "==="},
           {"= =", "=="},
           {" \u00b0 ", "\u00b0"},
           {" \n", "\n"},
           {"\n ", "\n"},
           {" N ", " 1 "},
           {" 's", "'s"}});
  return text;
}

class Wikitext : public Task {
 public:
  explicit Wikitext(const TaskInput& input) {
    if (input.spec.shots > 0 || !input.spec.chat_template.empty())
      throw UserError(input.spec.task + " scores text: neither shots nor a chat template are added");
    const RequestBuilder builder(input);
    if (!builder.prefix())
      throw UserError(input.spec.task +
                      ": a page's first token needs a BOS or an EOS token before it, and the "
                      "tokenizer has neither");
    for (const JsonDocument& document : read_documents(input.spec).asked) {
      const std::string& page = Fields(document).text("page");
      add_windows(builder.encode(detokenized(page)), *builder.prefix(), input.max_positions);
      ends_.push_back(requests_.size());
      words_.push_back(static_cast<int64_t>(count_split_by_space(page)));
      bytes_.push_back(static_cast<int64_t>(page.size()));
    }
    if (std::accumulate(bytes_.begin(), bytes_.end(), int64_t{0}) == 0)
      throw UserError(Where{DataFiles(input.spec.path).text(), 0, "page"}, "all pages are empty");
  }

  std::vector<Request> requests() const override { return requests_; }
  std::string token_digest() const override { return digest_requests(requests_); }

  std::vector<Metric> metrics(const std::vector<Score>& scores) const override {
    check_scores(scores, requests_.size());
    std::vector<double> pages;
    size_t next = 0;
    for (const size_t end : ends_) {
      double sum = 0;
      while (next < end) sum += scores[next++].log_likelihood;
      pages.push_back(sum);
    }
    return {perplexity_metric(pages, words_, "word_perplexity"),
            perplexity_metric(pages, bytes_, "byte_perplexity"), bits_metric("bits_per_byte", pages, bytes_)};
  }

 private:
  void add_windows(const std::vector<int32_t>& ids, int32_t prefix, int64_t longest) {
    const auto tokens = static_cast<int64_t>(ids.size());
    for (int64_t begin = 0; begin < tokens; begin += longest) {
      const int64_t end = std::min(begin + longest, tokens);
      // The first window: the prefix and what is scored. Others: as many tokens as the model reads, of which
      // the last may be few to score.
      Request request;
      if (begin == 0) request.ids.push_back(prefix);
      request.ids.insert(request.ids.end(), ids.begin() + (begin == 0 ? 0 : end - longest - 1),
                         ids.begin() + end);
      request.from = static_cast<int64_t>(request.ids.size()) - (end - begin);
      requests_.push_back(std::move(request));
    }
  }

  std::vector<Request> requests_;
  std::vector<size_t> ends_;            // of each page's requests
  std::vector<int64_t> words_, bytes_;  // of each page
};

TaskEntry entry() {
  TaskEntry result;
  result.help = "WikiText pages, word and byte perplexity by rolling windows";
  result.main_metric = "word_perplexity";
  result.lower_is_better = true;
  result.make = [](const TaskInput& input) { return std::make_unique<Wikitext>(input); };
  return result;
}

const TaskRegistry::Registration registration("wikitext", entry());

}  // namespace
}  // namespace ptq
