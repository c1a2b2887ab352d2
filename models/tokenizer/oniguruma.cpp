#include "models/tokenizer/oniguruma.h"

#include <cctype>
#include <cstdio>
#include <string>
#include <vector>

#include "models/tokenizer/pattern_reader.h"
#include "models/tokenizer/utf8.h"

namespace ptq::tokenizer {
namespace {

constexpr int kMaxDepth = 100;
constexpr const char* kAnyCharacter = "(?s:.)";
constexpr const char* kNever = "(?!)";

std::string literal(uint32_t c) {
  char text[16];
  std::snprintf(text, sizeof text, "\\x{%x}", c);
  return text;
}

std::string bracket(const std::string& inside) { return "[" + inside + "]"; }
std::string complement(const std::string& inside) { return "[^" + inside + "]"; }

// A set of characters: what one PCRE2 bracket can say, and patterns of one character beside it.
struct Set {
  std::string inside;
  std::vector<std::string> others;

  std::string pattern(bool negated) const {
    if (others.empty()) {
      if (inside.empty()) return negated ? kAnyCharacter : kNever;
      return negated ? complement(inside) : bracket(inside);
    }
    std::string all = "(?:" + (inside.empty() ? std::string(kNever) : bracket(inside));
    for (const auto& other : others) all += "|" + other;
    all += ")";
    return negated ? "(?:(?!" + all + ")" + kAnyCharacter + ")" : all;
  }
};

class Translator : private PatternReader {
 public:
  Translator(std::string_view pattern, const Where& where) : PatternReader(pattern, where) {}

  std::string run() {
    std::string out = alternatives(0, false);
    if (!done()) refuse("an unmatched ')'");
    return out;
  }

 private:
  // a|b|c up to a ')' or the end.
  std::string alternatives(int depth, bool caseless) {
    if (depth > kMaxDepth) refuse("more than " + std::to_string(kMaxDepth) + " nested groups");
    std::string out = sequence(depth, caseless);
    while (take("|")) out += "|" + sequence(depth, caseless);
    return out;
  }

  std::string sequence(int depth, bool caseless) {
    std::string out;
    char previous = 0;  // a literal ASCII letter right before, in lower case
    while (!done() && !next_is("|") && !next_is(")")) {
      const size_t start = at_;
      if (next_is("(?") && in_.size() > at_ + 2 &&
          std::string_view("imx-").find(in_[at_ + 2]) != std::string_view::npos) {
        std::string opened;
        bool inner = caseless;
        if (options(opened, inner)) {  // (?i:...)
          const std::string inside = alternatives(depth + 1, inner);
          close();
          out += quantified(opened + inside + ")");
        } else {  // (?i) holds to the end of the enclosing group, over alternatives
          return out + opened + alternatives(depth + 1, inner) + ")";
        }
        previous = 0;
        continue;
      }
      const std::string item = atom(depth, caseless);
      const bool plain_letter = at_ == start + 1 && std::isalpha(static_cast<unsigned char>(in_[start]));
      if (caseless && plain_letter) {
        const char letter = static_cast<char>(std::tolower(static_cast<unsigned char>(in_[start])));
        for (const std::string_view pair : {"ss", "ff", "fi", "fl", "st"})
          if (previous == pair[0] && letter == pair[1])
            refuse("'" + std::string(pair) + "' without regard to case");
        previous = letter;
      } else {
        previous = 0;
      }
      out += item.empty() ? item : quantified(item);
    }
    return out;
  }

  void close() {
    if (!take(")")) refuse("a group without ')'");
  }

  // After "(?": letters up to ':' (true) or ')' (false). Ruby's m is Perl's s.
  bool options(std::string& opened, bool& caseless) {
    at_ += 2;
    opened = "(?";
    bool on = true;
    while (!done()) {
      const uint32_t c = take_character();
      if (c == '-') {
        on = false;
        opened += '-';
      } else if (c == 'i') {
        caseless = on;
        opened += 'i';
      } else if (c == 'm') {
        opened += 's';
      } else if (c == ':' || c == ')') {
        opened += ':';
        return c == ':';
      } else {
        --at_;
        refuse("the group option '" + std::string(in_.substr(at_, 1)) + "'");
      }
    }
    refuse("an unexpected end");
  }

  std::string group(int depth, bool caseless) {  // after "("
    std::string opened = "(?:";
    if (take("?")) {
      if (take("#")) {
        while (!done() && !next_is(")")) take_character();
        close();
        return "";
      }
      if (next_is("<=") || next_is("<!")) {
        opened = "(?" + std::string(in_.substr(at_, 2));
        at_ += 2;
      } else if (next_is("<") || next_is("'")) {  // a name, without use as nothing may refer to it
        const char end = next_is("<") ? '>' : '\'';
        const size_t closing = in_.find(end, at_ + 1);
        if (closing == std::string_view::npos || closing == at_ + 1) refuse("a malformed group name");
        at_ = closing + 1;
      } else if (next_is(":") || next_is("=") || next_is("!") || next_is(">")) {
        opened = "(?" + std::string(in_.substr(at_, 1));
        ++at_;
      } else {
        refuse("the group '(?" + std::string(in_.substr(at_, 1)) + "'");
      }
    }
    const std::string inside = alternatives(depth + 1, caseless);
    close();
    return opened + inside + ")";
  }

  std::string atom(int depth, bool caseless) {
    if (take("(")) return group(depth, caseless);
    if (take("[")) return character_class(depth, caseless);
    if (take(".")) return ".";
    if (take("^")) return "^";
    if (take("$")) return "$";
    if (next_is("*") || next_is("+") || next_is("?")) refuse("a quantifier without target");
    if (take("\\")) return escape(caseless);
    const uint32_t c = take_character();
    check_case(c, caseless);
    return literal(c);
  }

  void check_case(uint32_t c, bool caseless) const {
    if (caseless && c >= 0x80) refuse("a character beyond ASCII without regard to case");
  }

  // \p{Name}, \p{^Name}, \P{Name}, \d, \s, \w, \h and their opposites, after the backslash.
  bool escaped_set(std::string& inside, bool& negated, bool in_bracket, bool caseless) {
    const char c = done() ? 0 : in_[at_];
    negated = c == 'P' || c == 'D' || c == 'S' || c == 'W' || c == 'H';
    switch (std::tolower(static_cast<unsigned char>(c))) {
      case 'd':
        inside = named_set("digit", true, in_bracket);
        break;
      case 's':
        inside = named_set("space", true, in_bracket);
        break;
      case 'w':
        inside = named_set("word", true, in_bracket);
        break;
      case 'h':
        inside = named_set("xdigit", true, in_bracket);
        break;
      case 'p': {
        ++at_;
        const size_t closing = in_.find('}', at_);
        if (!take("{") || closing == std::string_view::npos) refuse("a property without braces");
        if (take("^")) negated = !negated;
        const auto name = in_.substr(at_, closing - at_);
        inside = named_set(name, false, in_bracket);
        check_case_property(inside, caseless);
        if (inside.empty()) refuse("the unknown property '" + std::string(name) + "'");
        at_ = closing + 1;
        return true;
      }
      default:
        return false;
    }
    ++at_;
    return true;
  }

  void check_case_property(const std::string& inside, bool caseless) const {
    for (const char* cased : {"\\p{Lu}", "\\p{Ll}", "\\p{Lt}", "\\p{L&}", "\\p{Uppercase}", "\\p{Lowercase}"})
      if (caseless && inside == cased) refuse("a property of case without regard to case");
  }

  std::string escape(bool caseless) {  // after "\"
    std::string inside;
    bool negated = false;
    if (escaped_set(inside, negated, false, caseless)) return negated ? complement(inside) : bracket(inside);
    if (const auto c = escaped_character()) {
      check_case(*c, caseless);
      return literal(*c);
    }
    const std::string word = bracket(named_set("word", true, false));
    if (take("b")) return "(?:(?<=" + word + ")(?!" + word + ")|(?<!" + word + ")(?=" + word + "))";
    if (take("B")) return "(?:(?<=" + word + ")(?=" + word + ")|(?<!" + word + ")(?!" + word + "))";
    if (take("A")) return "\\A";
    if (take("z")) return "\\z";
    if (take("Z")) return "\\Z";
    if (take("R")) return R"((?>\x0d\x0a|[\x0a-\x0d\x{85}\x{2028}\x{2029}]))";
    if (take("N")) return R"([^\x0a])";
    if (take("O")) return kAnyCharacter;
    refuse("the escape '\\" + std::string(in_.substr(at_, 1)) + "'");
  }

  // After "[": items up to "]", with nested brackets and &&.
  std::string character_class(int depth, bool caseless) {
    if (depth > kMaxDepth) refuse("more than " + std::to_string(kMaxDepth) + " nested brackets");
    const bool negated = take("^");
    std::vector<std::string> operands;
    Set set;
    bool first = true;
    while (true) {
      if (done()) refuse("a bracket without ']'");
      if (next_is("]") && !(first && in_.find(']', at_ + 1) != std::string_view::npos)) break;
      if (take("&&")) {
        operands.push_back(set.pattern(false));
        set = Set();
      } else {
        class_item(set, depth, caseless);
      }
      first = false;
    }
    take("]");
    if (operands.empty()) {
      if (set.inside.empty() && set.others.empty()) refuse("an empty bracket");
      return set.pattern(negated);
    }
    std::string all = "(?:";
    for (const auto& operand : operands) all += "(?=" + operand + ")";
    all += set.pattern(false) + ")";
    return negated ? "(?:(?!" + all + ")" + kAnyCharacter + ")" : all;
  }

  void class_item(Set& set, int depth, bool caseless) {
    if (take("[:")) {
      const bool negated = take("^");
      const size_t closing = in_.find(":]", at_);
      const auto name = in_.substr(at_, closing == std::string_view::npos ? 0 : closing - at_);
      const std::string inside = named_set(name, true, true);
      if (inside.empty()) refuse("the unknown POSIX bracket '" + std::string(name) + "'");
      check_case_property(inside, caseless);
      at_ = closing + 2;
      add(set, inside, negated);
      return;
    }
    if (take("[")) {
      set.others.push_back(character_class(depth + 1, caseless));
      return;
    }
    std::string inside;
    bool negated = false;
    if (next_is("\\")) {
      ++at_;
      if (escaped_set(inside, negated, true, caseless)) {
        add(set, inside, negated);
        if (next_is("-") && in_.substr(at_ + 1, 1) != "]") refuse("a range that begins with a set");
        return;
      }
      --at_;
    }
    const uint32_t low = class_character();
    uint32_t high = low;
    if (next_is("-") && at_ + 1 < in_.size() && in_[at_ + 1] != ']' && low != '-') {
      ++at_;
      if (next_is("[") || next_is("&&")) refuse("a range that ends with a set");
      high = class_character();
      if (high < low) refuse("an empty range");
    }
    check_case(low, caseless);
    check_case(high, caseless);
    set.inside += low == high ? literal(low) : literal(low) + "-" + literal(high);
  }

  uint32_t class_character() {
    if (!take("\\")) return take_character();
    if (take("b")) return 8;
    if (const auto c = escaped_character()) return *c;
    refuse("the escape '\\" + std::string(in_.substr(at_, 1)) + "' in a bracket");
  }

  static void add(Set& set, const std::string& inside, bool negated) {
    if (!negated) {
      set.inside += inside;
    } else if (inside.rfind("\\p{", 0) == 0 && inside.find('}') + 1 == inside.size()) {
      set.inside += "\\P" + inside.substr(2);
    } else {
      set.others.push_back(complement(inside));
    }
  }

  // Appends the quantifiers that follow to a pattern of one item.
  std::string quantified(std::string item) {
    bool repeated = false;
    while (!done()) {
      std::string quantifier;
      if (next_is("*") || next_is("+") || next_is("?")) {
        quantifier = in_[at_++];
        if (take("?")) quantifier += '?';
        else if (take("+")) quantifier += '+';
      } else if (!take_interval(quantifier)) {
        break;
      }
      if (repeated) item = "(?:" + item + ")";
      item += quantifier;
      repeated = true;
    }
    return item;
  }
};

}  // namespace

std::string translate_oniguruma(std::string_view pattern, const Where& where) {
  if (valid_utf8_prefix(pattern) != pattern.size()) throw UserError(where, "the regex is not UTF-8");
  return Translator(pattern, where).run();
}

}  // namespace ptq::tokenizer
