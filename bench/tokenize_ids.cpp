// Encodes and decodes what comes on standard input, for speed measurements and for
// tools/tokenizer_differential.py.
//
//   tokenize_ids DIR ids [special]     records in: 4 bytes little-endian length, text. Out: count, ids (all
//   int32, little-endian) tokenize_ids DIR text [skip]       records in: count, ids. Out: length, text
//   tokenize_ids DIR time FILE...      seconds for loading, and for each file as a whole and line by line
// A record that fails gives -1, then length and message.
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "core/error.h"
#include "models/tokenizer.h"

namespace {

bool read_bytes(void* to, size_t bytes) { return std::fread(to, 1, bytes, stdin) == bytes; }
void write_int(int32_t value) { std::fwrite(&value, sizeof value, 1, stdout); }
void write_text(const std::string& text) {
  write_int(static_cast<int32_t>(text.size()));
  std::fwrite(text.data(), 1, text.size(), stdout);
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void encode_records(const ptq::Tokenizer& tokenizer, bool special) {
  for (int32_t size = 0; read_bytes(&size, sizeof size);) {
    std::string text(static_cast<size_t>(size), '\0');
    if (!read_bytes(text.data(), text.size())) return;
    try {
      const auto ids = tokenizer.encode(text, special);
      write_int(static_cast<int32_t>(ids.size()));
      std::fwrite(ids.data(), sizeof(int32_t), ids.size(), stdout);
    } catch (const ptq::UserError& e) {
      write_int(-1);
      write_text(e.what());
    }
  }
}

void decode_records(const ptq::Tokenizer& tokenizer, bool skip) {
  for (int32_t count = 0; read_bytes(&count, sizeof count);) {
    std::vector<int32_t> ids(static_cast<size_t>(count));
    if (!read_bytes(ids.data(), ids.size() * sizeof(int32_t))) return;
    write_text(tokenizer.decode(ids, skip));
  }
}

void time_files(const ptq::Tokenizer& tokenizer, int count, char** paths) {
  for (int i = 0; i < count; ++i) {
    std::ifstream in(paths[i], std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    auto start = std::chrono::steady_clock::now();
    const size_t whole = tokenizer.encode(text, false).size();
    const double whole_seconds = seconds_since(start);
    start = std::chrono::steady_clock::now();
    size_t by_line = 0;
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      by_line += tokenizer.encode(std::string_view(text).substr(begin, end - begin), false).size();
      begin = end + 1;
    }
    std::cout << paths[i] << ": " << text.size() << " bytes, whole " << whole << " ids in " << whole_seconds
              << " s, by line " << by_line << " ids in " << seconds_since(start) << " s\n";
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: tokenize_ids DIR ids [special] | text [skip] | time FILE...\n";
    return 2;
  }
  try {
    const auto start = std::chrono::steady_clock::now();
    const auto tokenizer = ptq::Tokenizer::load(argv[1]);
    const std::string mode = argv[2];
    if (mode == "ids") {
      encode_records(*tokenizer, argc > 3 && std::string(argv[3]) == "special");
    } else if (mode == "text") {
      decode_records(*tokenizer, argc > 3 && std::string(argv[3]) == "skip");
    } else if (mode == "time") {
      std::cout << "loaded in " << seconds_since(start) << " s, digest " << tokenizer->digest() << "\n";
      time_files(*tokenizer, argc - 3, argv + 3);
    } else {
      std::cerr << "unknown mode '" << mode << "'; allowed: ids, text, time\n";
      return 2;
    }
  } catch (const ptq::UserError& e) {
    std::cerr << e.what() << "\n";
    return 1;
  }
}
