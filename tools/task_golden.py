#!/usr/bin/env python3
"""Goldens of tests/evaluators: what lm-eval 0.4.13 asks a causal Hugging Face model for each task, and what it answers.

  tools/task_golden.py [--shared ../shared]      run with a Python that has lm-eval 0.4.13, transformers 5 and tokenizers

Writes into tests/evaluators/golden/:
  tokenizer/        a small byte-level BPE tokenizer with a BOS template, trained on tests/evaluators/documents
  requests.json     cases over those documents, to run anywhere: every request's ids
  shared.json       cases over the shared data with real tokenizers: SHA-256 over all requests (no text or ids of that data),
                    and, for stories260K, log-likelihoods and metrics of float32 transformers

The task definitions are lm-eval's own, pointed at local files; requests pass through its own pair encoding. Requests that
are equal within a document are kept once, as the harness does.
"""
import argparse, functools, hashlib, json, os, struct, tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
import glob

import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager, get_task_dict
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HERE = os.path.join(ROOT, "tests", "evaluators")
TASKS = os.path.join(os.path.dirname(lm_eval.__file__), "tasks")


@functools.cache
def definition(name):
    for path in sorted(glob.glob(TASKS + "/**/*.yaml", recursive=True)):
        with open(path, encoding="utf-8") as file:
            if any(line.replace('"', "").strip() == f"task: {name}" for line in file):
                return path
    raise SystemExit(f"lm-eval has no task {name}")


def load_task(name, data, fewshot, shots, folder):
    def local(path, split):
        with open(path, encoding="utf-8") as file:
            lines = [line if line.endswith("\n") else line + "\n" for line in file if line.strip()]
        if name.startswith("mmlu_"):
            lines = [line for line in lines if json.loads(line)["subject"] == name[5:]]
        with open(f"{folder}/{split}.jsonl", "w", encoding="utf-8") as file:
            file.write("".join(lines))
        return f"    {split}: {folder}/{split}.jsonl\n"

    files = local(data, "validation") + (local(fewshot, "fewshot") if fewshot else "")
    with open(folder + "/local.yaml", "w") as file:
        file.write(f"include: {definition(name)}\ntask: local_{name}\ndataset_path: json\ndataset_name: null\n"
                   "training_split: null\nvalidation_split: validation\ntest_split: validation\n"
                   f"fewshot_split: {'fewshot' if fewshot else 'validation'}\ndataset_kwargs:\n  data_files:\n{files}")
    task = get_task_dict([f"local_{name}"], TaskManager(include_path=folder, include_defaults=False))[f"local_{name}"]
    if task.config.num_fewshot != 0:
        task.set_config(key="num_fewshot", value=shots)
    task.set_fewshot_seed(seed=1234)
    return task


def tokenizer_only(tokenizer, max_length):
    """lm-eval's model class without a model: its request encoding is used, the forward pass replaced."""
    model = HFLM.__new__(HFLM)
    model.tokenizer, model.add_bos_token, model.custom_prefix_token_id = tokenizer, None, None
    model.backend, model._max_length = "causal", max_length
    model.enable_thinking = None
    return model


def encode(model, instances):
    seen = []
    original = model._loglikelihood_tokens
    model._loglikelihood_tokens = lambda requests, **_: seen.extend(requests) or [(0.0, False)] * len(requests)
    model.loglikelihood(instances, disable_tqdm=True)
    model._loglikelihood_tokens = original
    result = []
    for _, context, continuation in seen:
        ids = (context + continuation)[-(model.max_length + 1):]
        result.append((ids, len(ids) - len(continuation)))
    return result


def unique(instances, encoded):
    """Equal requests of one document once; the index of each instance's request."""
    requests, index = [], []
    start, last = 0, None
    for instance, request in zip(instances, encoded):
        if instance.doc_id != last:
            start, last = len(requests), instance.doc_id
        if request not in requests[start:]:
            requests.append(request)
        index.append(start + requests[start:].index(request))
    return requests, index


def digest(requests):
    h = hashlib.sha256()
    for ids, begin in requests:
        h.update(struct.pack("<qq", len(ids), begin) + struct.pack(f"<{len(ids)}i", *ids))
    return h.hexdigest()


def build_case(task_name, data, tokenizer, max_length, shots=0, fewshot="", limit=0, keep=None, model=None):
    with tempfile.TemporaryDirectory() as folder:
        task = load_task(task_name, data, fewshot, shots, folder)
        task.build_all_requests(limit=limit or None)
        instances = task.instances
    lm = model or tokenizer_only(tokenizer, max_length)
    requests, index = unique(instances, encode(lm, instances))
    case = {"task": task_name, "shots": shots, "limit": limit, "max_positions": max_length, "count": len(requests),
            "digest": digest(requests), "requests": [[ids, begin] for ids, begin in requests[:keep]]}
    if model is not None:
        answers = lm.loglikelihood(instances, disable_tqdm=True)
        scores = [None] * len(requests)
        for i, answer in zip(index, answers):
            scores[i] = answer
        case["log_likelihoods"] = [round(value, 6) for value, _ in scores]
        case["greedy"] = [int(greedy) for _, greedy in scores]
        case["metrics"] = evaluate(task, instances, answers)
    return case


def evaluate(task, instances, answers):
    by_document, columns = {}, {}
    for instance, answer in zip(instances, answers):
        by_document.setdefault(instance.doc_id, (instance.doc, []))[1].append(answer)
    for document, results in by_document.values():
        for name, value in task.process_results(document, results).items():
            columns.setdefault(name, []).append(value)
    return {name: float(task.aggregation()[name](values)) for name, values in sorted(columns.items())}


def train_tokenizer(folder, texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    os.makedirs(folder, exist_ok=True)
    tokenizer.save(folder + "/tokenizer.json")
    with open(folder + "/tokenizer_config.json", "w") as file:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}, file)
        file.write("\n")


def open_tokenizer(folder):
    config = {}
    if os.path.exists(folder + "/tokenizer_config.json"):
        with open(folder + "/tokenizer_config.json", encoding="utf-8") as file:
            config = json.load(file)
    text = lambda name, other: (lambda v: v["content"] if isinstance(v, dict) else v)(config.get(name) or other)
    return PreTrainedTokenizerFast(tokenizer_file=folder + "/tokenizer.json", bos_token=text("bos_token", "<|endoftext|>"),
                                   eos_token=text("eos_token", "<|endoftext|>"))


def write(name, value):
    with open(os.path.join(HERE, "golden", name), "w", encoding="utf-8") as file:
        cases = ",\n".join(json.dumps(case, separators=(",", ":"), ensure_ascii=False) for case in value)
        file.write("[\n" + cases + "\n]\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", default=os.path.join(ROOT, "..", "shared"))
    parser.add_argument("--skip-shared", action="store_true", help="only what needs no shared data")
    arguments = parser.parse_args()

    documents = lambda name: f"{HERE}/documents/{name}.jsonl"
    texts = []
    for path in sorted(glob.glob(HERE + "/documents/*.jsonl")):
        with open(path, encoding="utf-8") as file:
            texts += file.read().splitlines()
    train_tokenizer(HERE + "/golden/tokenizer", texts)
    small = open_tokenizer(HERE + "/golden/tokenizer")
    cases = []
    for path in sorted(glob.glob(HERE + "/documents/*.jsonl")):
        name = os.path.basename(path)[:-6]
        keys = [(0, "", 0), (2, "", 0)] + ([(3, documents("piqa"), 3)] if name == "piqa" else [])
        for shots, fewshot, limit in keys:
            case = build_case(name, path, small, 256, shots, fewshot, limit, keep=6 if shots else None)
            case["fewshot"] = os.path.basename(fewshot)
            cases.append(case)
    write("requests.json", cases)
    if arguments.skip_shared:
        return

    data = os.path.join(arguments.shared, "data")
    cases = []
    stories = HFLM(pretrained=data + "/stories260K", dtype="float32", device="cpu", batch_size=1)
    files = {"piqa": "piqa/validation.jsonl", "arc_easy": "arc_easy/validation.jsonl",
             "arc_challenge": "arc_challenge/validation.jsonl", "winogrande": "winogrande/validation.jsonl",
             "openbookqa": "openbookqa/validation.jsonl", **EXTRA}
    for name, file in files.items():
        dev = f"{data}/tasks/mmlu/dev.jsonl" if name.startswith("mmlu_") else ""
        for folder, shots, limit in [("stories260K", 0, 20), ("tokenizers/llama2", 0, 100), ("tokenizers/gpt2", 5, 100),
                                     ("tokenizers/qwen2", 2, 100), ("stories260K", 3, 100)]:
            scored = folder == "stories260K" and shots == 0
            folder_path = f"{data}/{folder}"
            length = 512 if folder == "stories260K" else 2048
            case = build_case(name, f"{data}/tasks/{file}", open_tokenizer(folder_path), length, shots, dev if shots else "", limit,
                              keep=0, model=stories if scored else None)
            case.update(tokenizer=folder, data="tasks/" + file, fewshot="tasks/mmlu/dev.jsonl" if shots and dev else "")
            cases.append(case)
            print(name, folder, shots, case["count"], case.get("metrics", ""), flush=True)
    write("shared.json", cases)


EXTRA = {"hellaswag": "hellaswag/validation_2000.jsonl", "mmlu_anatomy": "mmlu/validation.jsonl",
         "truthfulqa_mc1": "truthfulqa_mc/validation.jsonl", "truthfulqa_mc2": "truthfulqa_mc/validation.jsonl"}

if __name__ == "__main__":
    main()
