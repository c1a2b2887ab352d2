#include "core/error.h"

#include <algorithm>
#include <cstdio>

namespace ptq {
namespace {

// One line, whatever names and values of the user's it quotes.
std::string visible(const std::string& text) {
  std::string shown;
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    char escape[5];
    std::snprintf(escape, sizeof escape, "\\x%02x", code);
    if (c == '\n') shown += "\\n";
    else if (c == '\t') shown += "\\t";
    else if (code < 32 || code == 127) shown += escape;
    else shown += c;
  }
  return shown;
}

std::string locate(const Where& where, const std::string& message) {
  std::string text;
  if (!where.file.empty()) text += where.file + ":";
  if (where.line > 0) text += std::to_string(where.line) + ":";
  if (!text.empty()) text += " ";
  if (!where.key.empty()) text += where.key + ": ";
  return visible(text + message);
}

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

UserError::UserError(const Where& where, const std::string& message)
    : std::runtime_error(locate(where, message)), where_(where), message_(visible(message)) {}

std::string nearest_name(const std::string& given, const std::vector<std::string>& allowed) {
  std::string best;
  size_t best_distance = 0;
  for (const auto& name : allowed) {
    const size_t distance = edit_distance(given, name);
    if (distance <= name.size() / 3 + 1 && (best.empty() || distance < best_distance)) {
      best = name;
      best_distance = distance;
    }
  }
  return best;
}

std::string unknown_name_message(const std::string& what, const std::string& given,
                                 const std::vector<std::string>& allowed) {
  std::string text = "unknown " + what + " '" + given + "'";
  const std::string near = nearest_name(given, allowed);
  if (!near.empty()) text += " (did you mean '" + near + "'?)";
  text += "; allowed: ";
  for (size_t i = 0; i < allowed.size(); ++i) text += (i ? ", " : "") + allowed[i];
  return text;
}

void fail_check(const char* file, int line, const std::string& condition, const std::string& message) {
  std::ostringstream out;
  out << file << ":" << line << ": check failed: " << condition;
  if (!message.empty()) out << " " << message;
  throw InternalError(out.str());
}

}  // namespace ptq
