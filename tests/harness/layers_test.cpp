// The rules of the tree (docs/architecture.md): who may include whom, and where a library may be named.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>

#include "tests/support/paths.h"

namespace {

namespace fs = std::filesystem;

const std::map<std::string, std::set<std::string>> may_include = {
    {"core", {"core"}},
    {"quant", {"core", "quant"}},
    {"models", {"core", "quant", "models"}},
    {"datasets", {"core", "quant", "models", "datasets"}},
    {"algorithms", {"core", "quant", "models", "algorithms"}},
    {"evaluators", {"core", "quant", "models", "datasets", "evaluators"}},
    {"results", {"core", "results"}},
    {"reports", {"core", "results", "reports"}},
};

template <typename F>
void each_include(F&& f) {
  static const std::regex include(R"re(^\s*#include\s+["<]([^">]+)[">])re");
  for (const char* layer :
       {"core", "quant", "models", "datasets", "algorithms", "evaluators", "results", "reports", "harness"})
    for (const auto& entry : fs::recursive_directory_iterator(ptq::test::project_path(layer))) {
      const std::string ext = entry.path().extension();
      if (ext != ".cpp" && ext != ".h") continue;
      std::ifstream in(entry.path());
      std::smatch match;
      for (std::string line; std::getline(in, line);)
        if (std::regex_search(line, match, include))
          f(std::string(layer), entry.path().string(), match[1].str());
    }
}

TEST(Layers, IncludeOnlyWhatStandsBelowThem) {
  each_include([](const std::string& layer, const std::string& file, const std::string& included) {
    const std::string target = included.substr(0, included.find('/'));
    if (layer == "harness" || !may_include.count(target)) return;  // harness sees everything; system headers
    EXPECT_TRUE(may_include.at(layer).count(target)) << file << " includes " << included;
  });
}

TEST(Layers, NameALibraryOnlyWhereItBelongs) {
  const std::map<std::string, std::string> home = {{"mpi.h", "core/comm/"},
                                                   {"nccl.h", "core/comm/"},
                                                   {"cuda", "core/comm/"},
                                                   {"c10/cuda/", "core/comm/"},
                                                   {"ATen/cuda/", "core/comm/"},
                                                   {"SQLiteCpp/", "results/"},
                                                   {"sqlite3.h", "results/"},
                                                   {"yaml-cpp/", "harness/yaml.cpp"},
                                                   {"zlib.h", "datasets/gzip.cpp"},
                                                   {"zstd.h", "datasets/zstd.cpp"},
                                                   {"snappy", "datasets/parquet/pages.cpp"},
                                                   {"curl/", "harness/http.cpp"}};
  each_include([&](const std::string&, const std::string& file, const std::string& included) {
    for (const auto& [header, folder] : home) {
      if (included.rfind(header, 0) == 0) {
        EXPECT_NE(file.find(folder), std::string::npos) << file << " includes " << included;
      }
    }
    EXPECT_NE(included, "torch/torch.h") << file;
  });
}

}  // namespace
