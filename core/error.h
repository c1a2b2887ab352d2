// Two kinds of failure. UserError: something that the user gave is wrong; one line that names file, line, key and what
// was allowed. InternalError: the program broke its own rule; the values that broke it are printed.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace ptq {

// Where a user's mistake stands. Empty members are left out of the message; lines count from 1.
struct Where {
  std::string file;
  int line = 0;
  std::string key;  // dotted path: quantization[0].weights.bits
};

class UserError : public std::runtime_error {
 public:
  explicit UserError(const std::string& message) : UserError(Where{}, message) {}
  // what(): "file:line: key: message", control characters as escapes: one line
  UserError(const Where& where, const std::string& message);

  // The parts: a layer that knows the key only is told file and line by the one that read the file.
  const Where& where() const { return where_; }
  const std::string& message() const { return message_; }

 private:
  Where where_;
  std::string message_;
};

class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

// "unknown <what> 'given' (nearest: 'x'); allowed: a, b, c"
std::string unknown_name_message(const std::string& what, const std::string& given,
                                 const std::vector<std::string>& allowed);

// The allowed name with the smallest edit distance, or "" when none is near (distance above a third of its length + 1).
std::string nearest_name(const std::string& given, const std::vector<std::string>& allowed);

[[noreturn]] void fail_check(const char* file, int line, const std::string& condition,
                             const std::string& message = "");

template <typename A, typename B>
std::string describe_pair(const char* text, const A& a, const B& b) {
  std::ostringstream out;
  out << text << " (" << a << " against " << b << ")";
  return out.str();
}

}  // namespace ptq

#define PTQ_CHECK(condition, ...)                                                                   \
  do {                                                                                              \
    if (!(condition)) ::ptq::fail_check(__FILE__, __LINE__, #condition __VA_OPT__(, ) __VA_ARGS__); \
  } while (false)

#define PTQ_CHECK_EQ(a, b)                                                                          \
  do {                                                                                              \
    const auto& check_a_ = (a);                                                                     \
    const auto& check_b_ = (b);                                                                     \
    if (!(check_a_ == check_b_))                                                                    \
      ::ptq::fail_check(__FILE__, __LINE__, ::ptq::describe_pair(#a " == " #b, check_a_, check_b_)); \
  } while (false)
