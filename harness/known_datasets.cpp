#include "harness/known_datasets.h"

#include <algorithm>
#include <filesystem>

#include "evaluators/python_text.h"

namespace ptq {
namespace fs = std::filesystem;
namespace {

KnownDataset task(const std::string& name, const std::string& hub, const std::string& config,
                  const std::string& split, const std::string& shots = "") {
  KnownDataset known{name, hub, config, {split}, "", "", name + ".jsonl"};
  known.by_hand = (config.empty() ? "" : "config " + config + ", ") + "split " + split +
                  ": its rows as JSON lines or Parquet" +
                  (shots.empty() ? "" : " (shots: split " + shots + ")");
  if (!shots.empty()) known.splits.push_back(shots);
  return known;
}

}  // namespace

const std::vector<KnownDataset>& known_datasets() {
  static const std::vector<KnownDataset> list = {
      {"wikitext2",
       "Salesforce/wikitext",
       "wikitext-2-raw-v1",
       {"train", "test"},
       "",
       "the `text` of the rows of config wikitext-2-raw-v1, split {split}, one after another as they are "
       "(protocol papers_wikitext joins them)",
       "wikitext2/{split}.txt",
       "text"},
      {"ptb",
       "ptb-text-only/ptb_text_only",
       "",
       {"train", "test"},
       "",
       "the `sentence` of the rows of split {split}, joined by one blank",
       "ptb/{split}.txt",
       "sentence",
       " "},
      {"c4",
       "allenai/c4",
       "en",
       {"train", "validation"},
       "en/c4-{split}.00000-of-{shards}.json.gz",
       "en/c4-{split}.00000-of-{shards}.json.gz, as it is",
       "c4/{split}.json.gz"},
      {"pile_val",
       "mit-han-lab/pile-val-backup",
       "",
       {"validation"},
       "val.jsonl.zst",
       "val.jsonl.zst, as it is",
       "pile_val/{split}.jsonl.zst"},
      {"pile_10k",
       "NeelNanda/pile-10k",
       "",
       {"train"},
       "",
       "the one split's rows as JSON lines or Parquet",
       "pile_10k/{split}.jsonl"},
      {"slimpajama",
       "cerebras/SlimPajama-627B",
       "",
       {"train"},
       "train/chunk1/example_train_0.jsonl.zst",
       "a file of {split}/chunk1, as it is, or rows of DKYoon/SlimPajama-6B as JSON lines or Parquet",
       "slimpajama/{split}.jsonl.zst"},
      task("piqa", "baber/piqa", "", "validation"),
      task("hellaswag", "Rowan/hellaswag", "", "validation"),
      task("boolq", "aps/super_glue", "boolq", "validation"),
      task("rte", "nyu-mll/glue", "rte", "validation"),
      task("sglue_rte", "aps/super_glue", "rte", "validation"),
      task("arc_easy", "allenai/ai2_arc", "ARC-Easy", "test"),
      task("arc_challenge", "allenai/ai2_arc", "ARC-Challenge", "test"),
      task("openbookqa", "allenai/openbookqa", "main", "test"),
      task("winogrande", "allenai/winogrande", "winogrande_xl", "validation"),
      task("commonsense_qa", "tau/commonsense_qa", "", "validation"),
      task("truthfulqa_mc", "truthfulqa/truthful_qa", "multiple_choice", "validation"),
      task("lambada_openai", "EleutherAI/lambada_openai", "default", "test"),
      task("lambada_standard", "cimec/lambada", "", "test"),
      task("wikitext", "EleutherAI/wikitext_document_level", "wikitext-2-raw-v1", "test"),
      task("gsm8k", "openai/gsm8k", "main", "test", "train"),
      task("mmlu", "cais/mmlu", "all", "test", "dev")};
  return list;
}

std::optional<KnownDataset> find_known_dataset(const std::string& name) {
  const auto found = std::ranges::find(known_datasets(), name, &KnownDataset::name);
  return found == known_datasets().end() ? std::nullopt : std::optional(*found);
}

bool is_corpus(const KnownDataset& known) { return known.place.find("{split}") != std::string::npos; }

std::string for_split(const std::string& text, const std::string& split) {
  return replaced(replaced(text, "{shards}", split == "train" ? "01024" : "00008"), "{split}", split);
}

std::string fetched_place(const KnownDataset& known, const std::string& split) {
  if (is_corpus(known)) return known.name + "/" + split;
  return split == known.splits[0] ? known.name : known.name + "_" + split;
}

std::string where_to_get(const std::string& written, const std::string& split, const std::string& folder) {
  for (const fs::path& part : fs::path(written)) {
    const std::string name = part.string().substr(0, part.string().find('.'));
    const auto known = find_known_dataset(name);
    if (known && is_corpus(*known) != split.empty())
      return "'" + name + "' is the hub's " + known->hub + ": `harness fetch " + name + "` gets it; or put " +
             for_split(known->by_hand, split) + ", at " +
             (fs::path(folder) / for_split(known->place, split)).string() +
             ", or say where it is under datasets: in the experiment";
  }
  return "";
}

}  // namespace ptq
