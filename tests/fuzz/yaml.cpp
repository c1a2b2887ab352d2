#include "harness/yaml.h"

#include "tests/fuzz/targets.h"

void ptq::fuzz::yaml(std::string_view bytes) {
  const std::string text(bytes);
  expect_user_error_at_most([&] {
    YamlDocument document = parse_yaml(text, "a.yaml");
    apply_assignment(document.value, text.substr(0, text.find('\n')));
    PTQ_CHECK(!document.value.dump().empty());  // throws for broken UTF-8
  });
  expect_user_error_at_most([&] { parse_yaml_value(text); });
}
