// MMLU (Hendrycks et al. 2021): one task a subject, mmlu_<subject>, over a file of all subjects. Fields:
// subject, question, choices (four), answer. The four letters are what is scored. Shots are the file's first
// ones of the subject.
#include "evaluators/multiple_choice.h"
#include "evaluators/request_builder.h"

namespace ptq {
namespace {

const std::vector<const char*> kSubjects = {"abstract_algebra",
                                            "anatomy",
                                            "astronomy",
                                            "business_ethics",
                                            "clinical_knowledge",
                                            "college_biology",
                                            "college_chemistry",
                                            "college_computer_science",
                                            "college_mathematics",
                                            "college_medicine",
                                            "college_physics",
                                            "computer_security",
                                            "conceptual_physics",
                                            "econometrics",
                                            "electrical_engineering",
                                            "elementary_mathematics",
                                            "formal_logic",
                                            "global_facts",
                                            "high_school_biology",
                                            "high_school_chemistry",
                                            "high_school_computer_science",
                                            "high_school_european_history",
                                            "high_school_geography",
                                            "high_school_government_and_politics",
                                            "high_school_macroeconomics",
                                            "high_school_mathematics",
                                            "high_school_microeconomics",
                                            "high_school_physics",
                                            "high_school_psychology",
                                            "high_school_statistics",
                                            "high_school_us_history",
                                            "high_school_world_history",
                                            "human_aging",
                                            "human_sexuality",
                                            "international_law",
                                            "jurisprudence",
                                            "logical_fallacies",
                                            "machine_learning",
                                            "management",
                                            "marketing",
                                            "medical_genetics",
                                            "miscellaneous",
                                            "moral_disputes",
                                            "moral_scenarios",
                                            "nutrition",
                                            "philosophy",
                                            "prehistory",
                                            "professional_accounting",
                                            "professional_law",
                                            "professional_medicine",
                                            "professional_psychology",
                                            "public_relations",
                                            "security_studies",
                                            "sociology",
                                            "us_foreign_policy",
                                            "virology",
                                            "world_religions"};

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

TaskEntry entry(const std::string& subject) {
  std::string words = subject;
  for (char& c : words)
    if (c == '_') c = ' ';
  MultipleChoiceOptions options;
  options.parse = parse;
  options.acc_norm = false;
  options.description = "The following are multiple choice questions (with answers) about " + words + ".\n\n";
  options.shot_order = ShotOrder::first;
  options.keep = [subject](const JsonDocument& document) {
    return Fields(document).text("subject") == subject;
  };
  return multiple_choice_entry("MMLU: " + words, options);
}

struct Registrations {
  Registrations() {
    for (const char* subject : kSubjects)
      TaskRegistry::Registration(std::string("mmlu_") + subject, entry(subject));
  }
} const registrations;

}  // namespace
}  // namespace ptq
