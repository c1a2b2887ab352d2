#include "models/tokenizer/oniguruma.h"

#include <cctype>
#include <cstdio>
#include <optional>
#include <utility>
#include <vector>

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

class Translator {
 public:
  Translator(std::string_view pattern, const Where& where) : in_(pattern), where_(where) {}

  std::string run() {
    std::string out = alternatives(0, false);
    if (!done()) refuse("an unmatched ')'");
    return out;
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw UserError(where_, "the regex '" + std::string(in_) + "' has " + what + " at byte " + std::to_string(at_) +
                                ", which is not supported; supported: alternatives, groups, look-around, brackets, "
                                "quantifiers, properties and the escapes d D h H s S w W b B A z Z R N O t n r f v a e x u");
  }

  bool done() const { return at_ >= in_.size(); }
  bool next_is(std::string_view text) const { return in_.substr(at_, text.size()) == text; }
  bool take(std::string_view text) {
    if (!next_is(text)) return false;
    at_ += text.size();
    return true;
  }
  uint32_t take_character() {
    if (done()) refuse("an unexpected end");
    const CodePoint c = code_point_at(in_, at_);
    at_ += c.bytes;
    return c.value;
  }

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
      if (next_is("(?") && in_.size() > at_ + 2 && std::string_view("imx-").find(in_[at_ + 2]) != std::string_view::npos) {
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
          if (previous == pair[0] && letter == pair[1]) refuse("'" + std::string(pair) + "' without regard to case");
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

  // An escape that stands for one code point, after the backslash; nothing when it is of another kind.
  std::optional<uint32_t> escaped_character() {
    const size_t start = at_;
    const uint32_t c = take_character();
    switch (c) {
      case 't': return 9;
      case 'n': return 10;
      case 'v': return 11;
      case 'f': return 12;
      case 'r': return 13;
      case 'a': return 7;
      case 'e': return 27;
      case '0': return number(8, 2, true);
      case 'u': return number(16, 4, false);
      case 'x': {
        if (take("{")) {
          const uint32_t value = number(16, 8, true);
          if (!take("}")) refuse("a malformed \\x{...}");
          return value;
        }
        const uint32_t value = number(16, 2, true);
        if (value >= 0x80) refuse("a byte above \\x7f");
        return value;
      }
      default: break;
    }
    if (c >= 0x80 || !std::isalnum(static_cast<int>(c))) return c;
    at_ = start;
    return std::nullopt;
  }

  uint32_t number(uint32_t base, int max_digits, bool fewer_allowed) {
    uint64_t value = 0;
    int digits = 0;
    for (; digits < max_digits && !done(); ++digits, ++at_) {
      const char c = in_[at_];
      if (!std::isxdigit(static_cast<unsigned char>(c))) break;
      const uint32_t digit = c <= '9' ? static_cast<uint32_t>(c - '0') : static_cast<uint32_t>((c | 0x20) - 'a' + 10);
      if (digit >= base) break;
      value = value * base + digit;
    }
    if (!fewer_allowed && digits < max_digits) refuse("a malformed number");
    if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) refuse("a number that is no code point");
    return static_cast<uint32_t>(value);
  }

  // \p{Name}, \p{^Name}, \P{Name}, \d, \s, \w, \h and their opposites, after the backslash.
  bool escaped_set(std::string& inside, bool& negated, bool in_bracket, bool caseless) {
    const char c = done() ? 0 : in_[at_];
    negated = c == 'P' || c == 'D' || c == 'S' || c == 'W' || c == 'H';
    switch (std::tolower(static_cast<unsigned char>(c))) {
      case 'd': inside = named_set("digit", true, in_bracket); break;
      case 's': inside = named_set("space", true, in_bracket); break;
      case 'w': inside = named_set("word", true, in_bracket); break;
      case 'h': inside = named_set("xdigit", true, in_bracket); break;
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
      default: return false;
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
        if (take("?"))
          quantifier += '?';
        else if (take("+"))
          quantifier += '+';
      } else if (!interval(quantifier)) {
        break;
      }
      if (repeated) item = "(?:" + item + ")";
      item += quantifier;
      repeated = true;
    }
    return item;
  }

  // {n}, {n,}, {n,m}, {,m}; a brace of another shape is a literal.
  bool interval(std::string& quantifier) {
    if (!next_is("{")) return false;
    const size_t start = at_++;
    const auto digits = [&] {
      const size_t from = at_;
      while (!done() && std::isdigit(static_cast<unsigned char>(in_[at_]))) ++at_;
      return std::string(in_.substr(from, at_ - from));
    };
    std::string low = digits(), high = low;
    const bool comma = take(",");
    if (comma) high = digits();
    if ((low.empty() && high.empty()) || !take("}")) {
      at_ = start;
      return false;
    }
    if (low.size() > 5 || high.size() > 5) refuse("a quantifier above 99999");
    if (low.empty()) low = "0";
    if (!high.empty() && std::stoi(high) < std::stoi(low)) refuse("a quantifier whose bounds are swapped");
    quantifier = "{" + low + (comma ? "," + high : "") + "}";
    if (next_is("?") && comma) {
      ++at_;
      quantifier += '?';
    }
    return true;
  }

  std::string_view in_;
  const Where& where_;
  size_t at_ = 0;
};

}  // namespace

std::string translate_oniguruma(std::string_view pattern, const Where& where) {
  if (valid_utf8_prefix(pattern) != pattern.size()) throw UserError(where, "the regex is not UTF-8");
  return Translator(pattern, where).run();
}

}  // namespace ptq::tokenizer
