// outputs: the answers of a generative cell, as AlpacaEval and its like read them.
#include <iostream>
#include <map>

#include "core/error.h"
#include "harness/commands.h"
#include "results/store.h"

namespace ptq {
namespace {

// What made the answers: the model and, when it is quantized, the bits and steps.
std::string generator_name(const Json& cell) {
  const std::string model = cell["model"];
  return cell["method"].is_null() ? model : model + " " + chain_text(cell);
}

int outputs(const std::string& database, const std::string& key, const std::string& generator) {
  const auto store = ResultStore::open(database, ResultStore::Mode::read);
  const Json known = store->describe_cell(key);
  const CellRow row = *store->find_cell(known["key"]);
  std::map<int64_t, Json> documents;
  for (const DocumentTextRow& text : row.texts) documents[text.document][text.name] = text.value;
  if (documents.empty())
    throw UserError("cell " + row.key.substr(0, 12) + " has no outputs: its task '" +
                    row.cell["evaluation"]["task"].get<std::string>() + "' generates nothing, or it failed");
  Json list = Json::array();
  for (auto& [index, document] : documents) {
    document["generator"] = generator.empty() ? generator_name(row.cell) : generator;
    list.push_back(std::move(document));
  }
  std::cout << list.dump(2) << "\n";
  return success;
}

}  // namespace

Command add_outputs(CLI::App& program) {
  auto database = std::make_shared<std::string>(), key = std::make_shared<std::string>(),
       generator = std::make_shared<std::string>();
  CLI::App* app = program.add_subcommand(
      "outputs", "The answers of a generative cell as JSON: of alpaca_eval, what AlpacaEval's judge reads");
  app->add_option("--db", *database, "Result database")->required();
  app->add_option("--generator", *generator, "Name of the model in it; default: its folder, bits and steps");
  app->add_option("cell", *key, "Beginning of the cell's key (harness show)")->required();
  return {app, [=](Communicator& comm) {
            return only_on_root(comm, [&] { return outputs(*database, *key, *generator); });
          }};
}

}  // namespace ptq
