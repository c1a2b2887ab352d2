#include "harness/known_datasets.h"

#include <filesystem>
#include <vector>

#include "evaluators/python_text.h"

namespace ptq {
namespace fs = std::filesystem;
namespace {

struct KnownDataset {
  std::string name;   // as it stands in experiments and, for documents, in front of .jsonl
  std::string hub;    // the data set's id
  std::string file;   // which of its files; {split} is the corpus's
  std::string place;  // below the data folder; "": <name>.jsonl
};

constexpr const char* kRows = "rows as JSON lines";

const std::vector<KnownDataset>& corpora() {
  static const std::vector<KnownDataset> list = {
      {"wikitext2", "Salesforce/wikitext",
       "the `text` of the rows of config wikitext-2-raw-v1, split {split}, one after another as they are "
       "(protocol papers_wikitext joins them)",
       "wikitext2/{split}.txt"},
      {"ptb", "ptb-text-only/ptb_text_only",
       "the `sentence` of the rows of split {split}, joined by one blank", "ptb/{split}.txt"},
      {"c4", "allenai/c4", "en/c4-{split}.00000-of-{shards}.json.gz, as it is", "c4/{split}.json.gz"},
      {"pile_val", "mit-han-lab/pile-val-backup", "val.jsonl.zst, unpacked (zstd -d)",
       "pile_val/{split}.jsonl"},
      {"pile_10k", "NeelNanda/pile-10k", std::string("the one split's ") + kRows, "pile_10k/{split}.jsonl"},
      {"slimpajama", "cerebras/SlimPajama-627B",
       "a file of {split}/chunk1, unpacked (zstd -d); or rows of DKYoon/SlimPajama-6B as JSON lines",
       "slimpajama/{split}.jsonl"}};
  return list;
}

const std::vector<KnownDataset>& documents() {
  const auto rows = [](const std::string& config, const std::string& split) {
    return (config.empty() ? "" : "config " + config + ", ") + "split " + split + ": its " + kRows;
  };
  static const std::vector<KnownDataset> list = {
      {"piqa", "baber/piqa", rows("", "validation"), ""},
      {"hellaswag", "Rowan/hellaswag", rows("", "validation"), ""},
      {"boolq", "aps/super_glue", rows("boolq", "validation"), ""},
      {"rte", "nyu-mll/glue", rows("rte", "validation"), ""},
      {"sglue_rte", "aps/super_glue", rows("rte", "validation"), ""},
      {"arc_easy", "allenai/ai2_arc", rows("ARC-Easy", "test"), ""},
      {"arc_challenge", "allenai/ai2_arc", rows("ARC-Challenge", "test"), ""},
      {"openbookqa", "allenai/openbookqa", rows("main", "test"), ""},
      {"winogrande", "allenai/winogrande", rows("winogrande_xl", "validation"), ""},
      {"commonsense_qa", "tau/commonsense_qa", rows("", "validation"), ""},
      {"truthfulqa_mc", "truthfulqa/truthful_qa", rows("multiple_choice", "validation"), ""},
      {"lambada_openai", "EleutherAI/lambada_openai", rows("default", "test"), ""},
      {"lambada_standard", "cimec/lambada", rows("", "test"), ""},
      {"wikitext", "EleutherAI/wikitext_document_level", rows("wikitext-2-raw-v1", "test"), ""},
      {"mmlu", "cais/mmlu", rows("all", "test") + " (shots: split dev)", ""}};
  return list;
}

}  // namespace

std::string where_to_get(const std::string& written, const std::string& split, const std::string& folder) {
  for (const fs::path& part : fs::path(written)) {
    const std::string name = part.string().substr(0, part.string().find('.'));
    for (const KnownDataset& known : split.empty() ? documents() : corpora()) {
      if (known.name != name) continue;
      const std::string file =
          replaced(replaced(known.file, "{shards}", split == "train" ? "01024" : "00008"), "{split}", split);
      const std::string place =
          known.place.empty() ? name + ".jsonl" : replaced(known.place, "{split}", split);
      return "'" + name + "' is the hub's " + known.hub + ": put " + file + ", at " +
             (fs::path(folder) / place).string() + ", or say where it is under datasets: in the experiment";
    }
  }
  return "";
}

}  // namespace ptq
