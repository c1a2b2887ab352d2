// Named character sets of Oniguruma in terms of PCRE2's properties.
#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <utility>

#include "models/tokenizer/oniguruma.h"

namespace ptq::tokenizer {
namespace {

constexpr const char* kSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr const char* kGraph = R"(\p{L}\p{M}\p{N}\p{P}\p{S}\p{Cf}\p{Co})";
constexpr const char* kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";
// Oniguruma looks these up in a table of ISO 8859-1 that takes them for word characters, but not inside
// brackets.
constexpr const char* kWordOutside = R"(\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";

using Entry = std::pair<const char*, const char*>;

// POSIX names, which Oniguruma defines by Unicode properties.
constexpr std::array<Entry, 12> kPosix{{
    {"alnum", R"(\p{Alphabetic}\p{Nd})"},
    {"alpha", R"(\p{Alphabetic})"},
    {"blank", R"(\x{9}\p{Zs})"},
    {"cntrl", R"(\p{Cc})"},
    {"digit", R"(\p{Nd})"},
    {"graph", kGraph},
    {"lower", R"(\p{Lowercase})"},
    {"print", R"(\p{L}\p{M}\p{N}\p{P}\p{S}\p{Cf}\p{Co}\p{Zs})"},
    {"space", kSpace},
    {"upper", R"(\p{Uppercase})"},
    {"xdigit", "0-9a-fA-F"},
    {"ascii", R"(\x{0}-\x{7f})"},
}};

// General categories by long name; the short names are PCRE2's own.
constexpr std::array<Entry, 41> kCategories{{
    {"letter", "L"},
    {"uppercaseletter", "Lu"},
    {"lowercaseletter", "Ll"},
    {"titlecaseletter", "Lt"},
    {"casedletter", "L&"},
    {"lc", "L&"},
    {"modifierletter", "Lm"},
    {"otherletter", "Lo"},
    {"mark", "M"},
    {"combiningmark", "M"},
    {"nonspacingmark", "Mn"},
    {"spacingmark", "Mc"},
    {"enclosingmark", "Me"},
    {"number", "N"},
    {"decimalnumber", "Nd"},
    {"letternumber", "Nl"},
    {"othernumber", "No"},
    {"punctuation", "P"},
    {"connectorpunctuation", "Pc"},
    {"dashpunctuation", "Pd"},
    {"openpunctuation", "Ps"},
    {"closepunctuation", "Pe"},
    {"initialpunctuation", "Pi"},
    {"finalpunctuation", "Pf"},
    {"otherpunctuation", "Po"},
    {"symbol", "S"},
    {"mathsymbol", "Sm"},
    {"currencysymbol", "Sc"},
    {"modifiersymbol", "Sk"},
    {"othersymbol", "So"},
    {"separator", "Z"},
    {"spaceseparator", "Zs"},
    {"lineseparator", "Zl"},
    {"paragraphseparator", "Zp"},
    {"other", "C"},
    {"control", "Cc"},
    {"format", "Cf"},
    {"surrogate", "Cs"},
    {"privateuse", "Co"},
    {"unassigned", "Cn"},
    {"punct", "P"},
}};

constexpr std::array<const char*, 36> kShortCategories{"c",  "cc", "cf", "cn", "co", "cs", "l",  "ll", "lm",
                                                       "lo", "lt", "lu", "m",  "mc", "me", "mn", "n",  "nd",
                                                       "nl", "no", "p",  "pc", "pd", "pe", "pf", "pi", "po",
                                                       "ps", "s",  "sc", "sk", "sm", "so", "z",  "zl", "zp"};

constexpr std::array<Entry, 14> kBinary{{
    {"alphabetic", "Alphabetic"},
    {"lowercase", "Lowercase"},
    {"uppercase", "Uppercase"},
    {"math", "Math"},
    {"dash", "Dash"},
    {"hexdigit", "Hex_Digit"},
    {"asciihexdigit", "ASCII_Hex_Digit"},
    {"ideographic", "Ideographic"},
    {"idstart", "ID_Start"},
   
    {"xidstart", "XID_Start"},
   
    {"emoji", "Emoji"},
    {"emojipresentation", "Emoji_Presentation"},
    {"extendedpictographic", "Extended_Pictographic"},
    {"defaultignorablecodepoint", "Default_Ignorable_Code_Point"},
}};

template <size_t N>
const char* look_up(const std::array<Entry, N>& table, const std::string& name) {
  const auto found =
      std::find_if(table.begin(), table.end(), [&](const Entry& entry) { return name == entry.first; });
  return found == table.end() ? nullptr : found->second;
}

std::string property(const std::string& name) { return "\\p{" + name + "}"; }

}  // namespace

std::string named_set(std::string_view given, bool posix_bracket, bool in_bracket) {
  std::string name;
  for (const char c : given) {
    if (c == ' ' || c == '_' || c == '-') continue;
    if (!std::isalnum(static_cast<unsigned char>(c))) return "";
    name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  if (name == "word") return in_bracket ? kWord : std::string(kWord) + kWordOutside;
  if (name == "punct" && posix_bracket) return R"(\p{P}\p{S})";
  if (const char* set = look_up(kPosix, name)) return set;
  if (posix_bracket || name.empty()) return "";
  if (name == "any") return R"(\x{0}-\x{10ffff})";
  if (name == "assigned") return R"(\P{Cn})";
  if (name == "whitespace") return kSpace;
  if (name == "zs") return property("Zs");
  if (const char* category = look_up(kCategories, name)) return property(category);
  if (const char* binary = look_up(kBinary, name)) return property(binary);
  if (std::find(kShortCategories.begin(), kShortCategories.end(), name) != kShortCategories.end()) {
    name[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(name[0])));
    return property(name);
  }
  return property("sc:" +
                  std::string(given));  // a script, or unknown to PCRE2 too: its message then names it
}

}  // namespace ptq::tokenizer
