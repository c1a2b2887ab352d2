// MMLU (Hendrycks et al. 2021) over a file of all subjects: one task a subject, mmlu_<subject>; four groups
// of subjects, mmlu_<group>; and all of them, mmlu. Fields: subject, question, choices (four), answer. The
// four letters are what is scored. Shots are the file's first ones of the subject. A group's accuracy weighs
// each document alike; `limit` is a subject's.
#include <algorithm>

#include "core/log.h"
#include "datasets/data_files.h"
#include "evaluators/metrics.h"
#include "evaluators/multiple_choice.h"
#include "evaluators/python_text.h"
#include "evaluators/request_builder.h"

namespace ptq {
namespace {

struct SubjectGroup {
  std::string name;
  std::vector<std::string> subjects;
};

const std::vector<SubjectGroup> kGroups = {
    {"stem",
     {"abstract_algebra", "anatomy", "astronomy", "college_biology", "college_chemistry",
      "college_computer_science", "college_mathematics", "college_physics", "computer_security",
      "conceptual_physics", "electrical_engineering", "elementary_mathematics", "high_school_biology",
      "high_school_chemistry", "high_school_computer_science", "high_school_mathematics",
      "high_school_physics", "high_school_statistics", "machine_learning"}},
    {"other",
     {"business_ethics", "clinical_knowledge", "college_medicine", "global_facts", "human_aging",
      "management", "marketing", "medical_genetics", "miscellaneous", "nutrition", "professional_accounting",
      "professional_medicine", "virology"}},
    {"social_sciences",
     {"econometrics", "high_school_geography", "high_school_government_and_politics",
      "high_school_macroeconomics", "high_school_microeconomics", "high_school_psychology", "human_sexuality",
      "professional_psychology", "public_relations", "security_studies", "sociology", "us_foreign_policy"}},
    {"humanities",
     {"formal_logic", "high_school_european_history", "high_school_us_history", "high_school_world_history",
      "international_law", "jurisprudence", "logical_fallacies", "moral_disputes", "moral_scenarios",
      "philosophy", "prehistory", "professional_law", "world_religions"}}};

ChoiceItem parse(const Fields& fields) {
  const std::vector<std::string> answers = fields.texts("choices");
  if (answers.size() != 4)
    fields.fail("choices", "has " + std::to_string(answers.size()) + " choices; 4 are needed");
  ChoiceItem item;
  item.choices = {"A", "B", "C", "D"};
  item.question = stripped(fields.text("question"));
  for (size_t i = 0; i < 4; ++i) item.question += "\n" + item.choices[i] + ". " + answers[i];
  item.question += "\nAnswer:";
  item.gold = fields.index("answer", 4);
  return item;
}

std::string words_of(std::string name) {
  std::replace(name.begin(), name.end(), '_', ' ');
  return name;
}

MultipleChoiceOptions options_of(const std::string& subject) {
  MultipleChoiceOptions options;
  options.parse = parse;
  options.by_length = false;
  options.description =
      "The following are multiple choice questions (with answers) about " + words_of(subject) + ".\n\n";
  options.shot_order = ShotOrder::first;
  options.keep = [subject](const JsonDocument& document) {
    return Fields(document).text("subject") == subject;
  };
  return options;
}

void warn_about_description(const TaskInput& input) {
  const auto chat = ChatTemplate::for_task(input);
  if (chat && !chat->keeps_system())
    log_warning(input.spec.task +
                ": the chat template takes no system message: the line about the subject is left out");
}

TaskEntry subject_entry(const std::string& subject) {
  TaskEntry entry = multiple_choice_entry("MMLU: " + words_of(subject), options_of(subject));
  entry.make = [make = entry.make](const TaskInput& input) {
    warn_about_description(input);
    return make(input);
  };
  return entry;
}

class MmluGroup : public Task {
 public:
  // parts: the metrics of each group, acc_<group>, are given too.
  MmluGroup(const TaskInput& input, const std::vector<SubjectGroup>& groups, bool parts) : parts_(parts) {
    warn_about_description(input);
    auto documents = read_documents_by(input.spec, "subject");
    RequestBuilder builder(input);
    for (const SubjectGroup& group : groups) {
      names_.push_back("acc_" + group.name);
      for (const std::string& subject : group.subjects) {
        const auto found = documents.find(subject);
        if (found == documents.end() || found->second.asked.empty())
          throw UserError(Where{DataFiles(input.spec.path).text(), 0, "subject"},
                          "no documents of '" + subject + "', which " + input.spec.task + " needs");
        Member member{make_multiple_choice(input, options_of(subject), std::move(found->second), builder),
                      requests_.size(), 0, names_.size() - 1};
        for (Request& request : member.task->requests()) requests_.push_back(std::move(request));
        member.end = requests_.size();
        members_.push_back(std::move(member));
      }
    }
    counts_ = builder.finish();
  }

  std::vector<Request> requests() const override { return requests_; }
  std::string token_digest() const override { return digest_requests(requests_); }

  std::vector<Metric> metrics(const std::vector<Score>& scores) const override {
    check_scores(scores, requests_.size());
    std::vector<Metric> all;
    std::vector<std::vector<Metric>> of_group(names_.size());
    for (const Member& member : members_) {
      const auto begin = scores.begin();
      all.push_back(member.task
                        ->metrics({begin + static_cast<int64_t>(member.begin),
                                   begin + static_cast<int64_t>(member.end)})
                        .front());
      of_group[member.group].push_back(all.back());
    }
    std::vector<Metric> result = {pooled_metric("acc", all)};
    for (size_t i = 0; parts_ && i < names_.size(); ++i)
      result.push_back(pooled_metric(names_[i], of_group[i]));
    append_truncated(result, counts_);
    return result;
  }

 private:
  struct Member {
    std::unique_ptr<Task> task;
    size_t begin = 0, end = 0;  // of its requests
    size_t group = 0;
  };

  bool parts_;
  RequestCounts counts_;
  std::vector<std::string> names_;  // of the groups' metrics
  std::vector<Member> members_;
  std::vector<Request> requests_;
};

TaskEntry group_entry(const std::string& help, const std::vector<SubjectGroup>& groups, bool parts) {
  TaskEntry entry;
  entry.help = help;
  entry.main_metric = "acc";
  entry.make = [groups, parts](const TaskInput& input) {
    return std::make_unique<MmluGroup>(input, groups, parts);
  };
  return entry;
}

struct Registrations {
  Registrations() {
    using Registration = TaskRegistry::Registration;
    Registration("mmlu", group_entry("MMLU: all 57 subjects, and their four groups", kGroups, true));
    for (const SubjectGroup& group : kGroups) {
      Registration("mmlu_" + group.name, group_entry("MMLU: " + std::to_string(group.subjects.size()) +
                                                         " subjects of " + words_of(group.name),
                                                     {group}, false));
      for (const std::string& subject : group.subjects)
        Registration("mmlu_" + subject, subject_entry(subject));
    }
  }
} const registrations;

}  // namespace
}  // namespace ptq
