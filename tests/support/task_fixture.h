// A test of tasks: one file of documents, a small tokenizer, and what making a task of them says.
#pragma once

#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "core/error.h"
#include "evaluators/task.h"
#include "tests/support/paths.h"

namespace ptq::test {

class TaskFixture : public ::testing::Test {
 protected:
  TaskFixture() { spec_.path = path_; }
  ~TaskFixture() override { std::filesystem::remove(path_); }

  void write(const std::string& lines) { std::ofstream(path_) << lines; }
  std::unique_ptr<Task> make(const std::string& task) {
    spec_.task = task;
    return TaskRegistry::get().find(task)->make({spec_, *tokenizer_, positions_});
  }
  std::string refusal(const std::string& task) {
    try {
      make(task);
    } catch (const UserError& error) {
      return error.what();
    }
    return "accepted";
  }

  std::string path_ = ::testing::TempDir() + "task_fixture." + std::to_string(::getpid()) + ".jsonl";
  EvaluationSpec spec_;
  int64_t positions_ = 256;  // the model's
  std::shared_ptr<const Tokenizer> tokenizer_ =
      Tokenizer::load(project_path("tests/evaluators/golden/tokenizer"));
};

}  // namespace ptq::test
