// From Oniguruma's Ruby syntax, in which tokenizer.json files are written, to a PCRE2 pattern with the same
// matches.
//
// Differences that are translated: \s, \w, \h, \b and POSIX brackets (Unicode properties there; PCRE2's \s
// has U+180E, its \w lacks marks), \h (hexadecimal digit there), \v (vertical tab there), (?m) (dot matches
// newline there), ^ and $ (always at lines there), (?i) in mid-sequence (reaches over | there), a{n}?
// (optional there), a{n,m}+ (a repeated repeat there), a{,n}, set operations in brackets ([a-z&&[^b]], nested
// sets), script names (script extensions in PCRE2). Refused by name: back references, conditionals,
// subexpression calls, absent operators, \X, \K, \G, (?x), control and meta escapes, bytes \x80 and up, and
// under (?i) what Oniguruma folds to or from several characters (ss, ff, fi, fl, st, letters beyond ASCII)
// and properties of case.
#pragma once

#include <string>
#include <string_view>

#include "core/error.h"

namespace ptq::tokenizer {

// Throws UserError at `where`.
std::string translate_oniguruma(std::string_view pattern, const Where& where);

// The inside of a PCRE2 bracket for the characters of a POSIX class, property or escape letter: "" when the
// name is unknown. in_bracket: inside [...] Oniguruma's \w lacks six Latin-1 characters, and [[:punct:]] has
// symbols that \p{Punct} lacks.
std::string named_set(std::string_view name, bool posix_bracket, bool in_bracket);

}  // namespace ptq::tokenizer
