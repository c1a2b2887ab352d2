#!/usr/bin/env python3
"""Goldens of tests/evaluators: what lm-eval 0.4.13 asks a causal Hugging Face model for each task, and what it answers.

  tools/task_golden.py [--shared ../shared] [--chat-templates DIR] [--smollm2 DIR]
                                                 run with a Python that has lm-eval 0.4.13, transformers 5 and tokenizers

Writes into tests/evaluators/golden/:
  tokenizer/        a small byte-level BPE tokenizer with a BOS template, trained on tests/evaluators/documents
  requests.json     cases over those documents, to run anywhere: every request's ids, and the metrics of made-up answers
  shared.json       cases over the shared data with real tokenizers: SHA-256 over all requests (no text or ids of that data),
                    and, for stories260K, log-likelihoods and metrics of float32 transformers
  smollm2.json      ten documents of each task on SmolLM2 in float32 (tools/import_checkpoint.py); written with --smollm2 only
  chat.json         cases under chat templates: DIR has NAME.jinja, the template's text as the checkpoint brings it, for each
                    name that the harness builds in; written with --chat-templates only

Where the shared data has no documents of a task, other documents are given its fields (derive).

The task definitions are lm-eval's own, pointed at local files; requests pass through its own pair encoding. Requests that
are equal within a document are kept once, as the harness does.
"""
import argparse, functools, hashlib, json, os, struct, tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
import glob

import lm_eval
from lm_eval.api.metrics import aggregate_subtask_metrics, mean, mean_stderr, pooled_sample_stderr
from lm_eval.api.model import CacheHook
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager, get_task_dict
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HERE = os.path.join(ROOT, "tests", "evaluators")
TASKS = os.path.join(os.path.dirname(lm_eval.__file__), "tasks")


@functools.cache
def definitions():
    paths = {}
    for path in sorted(glob.glob(TASKS + "/**/*.yaml", recursive=True)):
        with open(path, encoding="utf-8") as file:
            for line in file:
                name = line.replace('"', "").strip()
                if name.startswith("task: "):
                    paths.setdefault(name[6:], path)
    return paths


def read(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def pages(path):
    """WikiText's pages: one begins with each line ` = Title = `."""
    result = [""]
    with open(path, encoding="utf-8", newline="\n") as file:
        for line in file:
            if line.startswith(" = ") and not line.startswith(" = ="):
                result.append("")
            result[-1] += line
    return [{"page": page} for page in result[1:]]


def derive(name, path):
    """Documents of task `name` out of others'; tests/evaluators/golden_test.cpp does the same."""
    if path.endswith(".txt"):
        return pages(path)
    make = {"boolq": lambda d: {"passage": d["ctx_a"], "question": d["activity_label"], "label": int(d["label"]) % 2},
            "rte": lambda d: {"sentence1": d["goal"], "sentence2": d["sol1"], "label": d["label"]},
            "sglue_rte": lambda d: {"premise": d["goal"], "hypothesis": d["sol2"], "label": d["label"]},
            "commonsense_qa": lambda d: {"question": d["question_stem"], "answerKey": d["answerKey"],
                                         "choices": {"text": d["choices"]["text"] + [d["question_stem"]]}},
            "lambada_openai": lambda d: {"text": d["ctx_a"]}, "lambada_standard": lambda d: {"text": d["sol1"]},
            "wikitext": lambda d: {"page": d["text"]}}[name]
    return [make(document) for document in read(path)]


def load_task(name, data, fewshot, shots, folder):
    def local(path, split):
        documents = path if isinstance(path, list) else read(path)
        if name.startswith("mmlu_"):
            documents = [document for document in documents if document["subject"] == name[5:]]
        with open(f"{folder}/{split}.jsonl", "w", encoding="utf-8") as file:
            file.write("".join(json.dumps(document) + "\n" for document in documents))
        return f"    {split}: {folder}/{split}.jsonl\n"

    def metrics():
        if name not in BY_LENGTH:
            return ""
        each = "".join(f"  - {{metric: {m}, aggregation: mean, higher_is_better: true}}\n" for m in ("acc", "acc_norm", "acc_bytes"))
        return "metric_list:\n" + each

    files = local(data, "validation") + (local(fewshot, "fewshot") if fewshot else "")
    with open(folder + "/local.yaml", "w") as file:
        file.write(f"include: {definitions()[name]}\ntask: local_{name}\ndataset_path: json\ndataset_name: null\n"
                   "training_split: null\nvalidation_split: validation\ntest_split: validation\n"
                   f"fewshot_split: {'fewshot' if fewshot else 'validation'}\ndataset_kwargs:\n  data_files:\n{files}{metrics()}")
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
    model.chat_template_args = {}
    model.batch_size_per_gpu, model._rank, model._world_size = 1, 0, 1
    model.cache_hook = CacheHook(None)
    return model


def ask(model, instances):
    rolling = instances[0].request_type == "loglikelihood_rolling"
    return (model.loglikelihood_rolling if rolling else model.loglikelihood)(instances, disable_tqdm=True)


def encode(model, instances):
    seen = []
    original = model._loglikelihood_tokens
    model._loglikelihood_tokens = lambda requests, **_: seen.extend(requests) or [(0.0, False)] * len(requests)
    ask(model, instances)
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


def build_requests(task_name, data, lm, shots=0, fewshot="", limit=0, chat="", multiturn=True):
    with tempfile.TemporaryDirectory() as folder:
        task = load_task(task_name, data, fewshot, shots, folder)
        task.build_all_requests(limit=limit or None, apply_chat_template=bool(chat), fewshot_as_multiturn=bool(chat) and multiturn,
                                chat_template=lm.apply_chat_template if chat else None)
    encoded = encode(lm, task.instances)
    rolling = task.instances[0].request_type == "loglikelihood_rolling"
    requests, index = (encoded, None) if rolling else unique(task.instances, encoded)
    return task, requests, index


def made_up(i):
    """The answer to request i where no model is asked: golden_test.cpp has the same numbers."""
    return -(i * 2654435761 % 2**32) / 2**32 * 30 - 0.01, (i * 40503 >> 3) % 2 == 0


def build_case(task_name, data, tokenizer, max_length, shots=0, fewshot="", limit=0, keep=None, model=None, chat="", multiturn=True, score=False):
    lm = model or tokenizer_only(tokenizer, max_length)
    task, requests, index = build_requests(task_name, data, lm, shots, fewshot, limit, chat, multiturn)
    case = {"task": task_name, "shots": shots, "limit": limit, "max_positions": max_length, "count": len(requests),
            "digest": digest(requests), "requests": [[ids, begin] for ids, begin in requests[:keep]]}
    if chat:
        case.update(chat_template=chat, multiturn=multiturn)
    if model is not None:
        answers = ask(lm, task.instances)
        if index:  # a rolling log-likelihood is a page's, not a request's
            scores = [None] * len(requests)
            for i, answer in zip(index, answers):
                scores[i] = answer
            case["log_likelihoods"] = [round(value, 6) for value, _ in scores]
            case["greedy"] = [int(greedy) for _, greedy in scores]
        case["metrics"], case["stderr"] = evaluate(task, task.instances, answers)
    elif score and index:
        case["metrics"], case["stderr"] = evaluate(task, task.instances, [made_up(i) for i in index])
    return case


def build_group(name, subjects, data, lm, max_length, shots, fewshot, limit, scored):
    """MMLU's groups as lm_eval.api.group does: subjects by their tags, in its order."""
    requests, parts = [], {"acc": []}
    for subject in subjects:
        task, own, _ = build_requests(f"mmlu_{subject}", data, lm, shots, fewshot, limit)
        requests += own
        if scored:
            metrics, stderr = evaluate(task, task.instances, ask(lm, task.instances))
            part = (metrics["acc"], stderr["acc"], len({instance.doc_id for instance in task.instances}))
            parts["acc"].append(part)
            if name == "mmlu":
                parts.setdefault("acc_" + GROUP_OF[subject], []).append(part)
    case = {"task": name, "shots": shots, "limit": limit, "max_positions": max_length, "count": len(requests),
            "digest": digest(requests), "requests": []}
    if scored:
        columns = {metric: list(zip(*values)) for metric, values in parts.items()}
        case["metrics"] = {metric: aggregate_subtask_metrics(value, size) for metric, (value, _, size) in columns.items()}
        case["stderr"] = {metric: float(pooled_sample_stderr(error, size)) for metric, (_, error, size) in columns.items()}
    return case


def mmlu_groups():
    groups = {}
    for path in sorted(glob.glob(TASKS + "/mmlu/default/mmlu_*.yaml")):
        with open(path, encoding="utf-8") as file:
            lines = dict(line.replace('"', "").strip().split(": ", 1) for line in file if line.startswith('"') and ": " in line)
        groups.setdefault(lines["tag"].removeprefix("mmlu_").removesuffix("_tasks"), []).append(lines["task"].removeprefix("mmlu_"))
    with open(TASKS + "/mmlu/default/_mmlu.yaml", encoding="utf-8") as file:
        order = [line.strip().removeprefix("- mmlu_") for line in file if line.startswith("  - mmlu_")]
    return {group: groups[group] for group in order}


def evaluate(task, instances, answers):
    by_document, columns = {}, {}
    for instance, answer in zip(instances, answers):
        by_document.setdefault(instance.doc_id, (instance.doc, []))[1].append(answer)
    for document, results in by_document.values():
        for name, value in task.process_results(document, results).items():
            columns.setdefault(name, []).append(value)
    aggregation = task.aggregation()
    values = {name: float(aggregation[name](column)) for name, column in sorted(columns.items())}
    # Where lm-eval gives one without a bootstrap.
    errors = {name: mean_stderr(column) for name, column in sorted(columns.items()) if aggregation[name] is mean}
    return values, errors


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
    other = None if config else "<|endoftext|>"
    text = lambda name: (lambda v: v["content"] if isinstance(v, dict) else v)(config.get(name) or other)
    return PreTrainedTokenizerFast(tokenizer_file=folder + "/tokenizer.json", bos_token=text("bos_token"),
                                   eos_token=text("eos_token"))


def write(name, value):
    with open(os.path.join(HERE, "golden", name), "w", encoding="utf-8") as file:
        cases = ",\n".join(json.dumps(case, separators=(",", ":"), ensure_ascii=False) for case in value)
        file.write("[\n" + cases + "\n]\n")


def small_cases(small, documents):
    cases = []
    for path in sorted(glob.glob(HERE + "/documents/*.jsonl")):
        name = os.path.basename(path)[:-6]
        keys = [(0, "", 0), (2, "", 0)] + ([(3, documents("piqa"), 3)] if name == "piqa" else [])
        for shots, fewshot, limit in keys[:1] if name == "wikitext" else keys:
            keep = 6 if shots else 3 if name == "wikitext" else None
            case = build_case(name, path, small, 256, shots, fewshot, limit, keep=keep, score=not shots)
            case["fewshot"] = os.path.basename(fewshot)
            cases.append(case)
    return cases


def chat_cases(small, documents, folder):
    cases = []
    for path in sorted(glob.glob(folder + "/*.jinja")):
        name = os.path.basename(path)[:-6]
        with open(path, encoding="utf-8", newline="") as file:
            small.chat_template = file.read()
        text = hashlib.sha256(small.chat_template.removesuffix("\n").replace("\\n", "\n").encode()).hexdigest()
        for task, shots, multiturn in [("piqa", 2, True), ("piqa", 2, False), ("mmlu_anatomy", 1, True), ("mmlu_anatomy", 2, False),
                                       ("winogrande", 0, True), ("lambada_openai", 1, True)]:
            keep = 1 if task == "piqa" else 0
            case = build_case(task, documents(task), small, 512, shots, keep=keep, chat=name, multiturn=multiturn)
            case.update(fewshot="", text=text)
            cases.append(case)
    return cases


def shared_cases(data):
    cases = []
    stories = HFLM(pretrained=data + "/stories260K", dtype="float32", device="cpu", batch_size=1)
    plan = [("stories260K", 0, 20), ("tokenizers/llama2", 0, 200), ("tokenizers/gpt2", 5, 200), ("tokenizers/qwen2", 2, 200),
            ("stories260K", 3, 200)]

    def note(case, folder, file, fewshot, derived):
        case.update(tokenizer=folder, data=file, fewshot=fewshot, derived=derived)
        cases.append(case)
        print(case["task"], folder, case["shots"], case["count"], case.get("metrics", ""), flush=True)

    length = lambda folder: 512 if folder == "stories260K" else 2048
    for name, file in [(name, "tasks/" + file) for name, file in FILES.items()] + DERIVED:
        derived = (name, file) in DERIVED
        documents = derive(name, f"{data}/{file}") if derived else f"{data}/{file}"
        dev = f"{data}/tasks/mmlu/dev.jsonl" if name.startswith("mmlu_") else ""
        for folder, shots, limit in plan[:2] + plan[3:4] if name == "wikitext" else plan:
            scored = folder == "stories260K" and shots == 0
            shots = 0 if name == "wikitext" else shots
            case = build_case(name, documents, open_tokenizer(f"{data}/{folder}"), length(folder), shots, dev if shots else "",
                              limit // (20 if file.endswith(".txt") else 1), keep=0, model=stories if scored else None)
            note(case, folder, file, "tasks/mmlu/dev.jsonl" if shots and dev else "", derived)

    file, dev, groups = "tasks/mmlu/validation.jsonl", "tasks/mmlu/dev.jsonl", mmlu_groups()
    for group, names in groups.items():
        GROUP_OF.update({name: group for name in names})
    for name, subjects in [("mmlu", sum(groups.values(), []))] + [("mmlu_" + group, names) for group, names in groups.items()]:
        for folder, shots, limit in [("stories260K", 0, 3), ("tokenizers/llama2", 5, 2)]:
            scored = name == "mmlu" and shots == 0
            limit = 4 if name == "mmlu" and shots else limit  # 228 documents
            lm = stories if scored else tokenizer_only(open_tokenizer(f"{data}/{folder}"), length(folder))
            case = build_group(name, subjects, f"{data}/{file}", lm, length(folder), shots, f"{data}/{dev}" if shots else "", limit, scored)
            note(case, folder, file, dev if shots else "", False)

    for folder, chat in [("tokenizers/phi-3-mini", "phi3"), ("tokenizers/qwen2", "chatml_qwen")]:
        with open(f"{data}/{folder}/tokenizer_config.json", encoding="utf-8") as config:
            tokenizer = open_tokenizer(f"{data}/{folder}")
            tokenizer.chat_template = json.load(config)["chat_template"]
        for name, shots in [("arc_easy", 3), ("mmlu_anatomy", 5), ("winogrande", 2), ("truthfulqa_mc1", 0)]:
            file = "tasks/" + FILES[name]
            fewshot = dev if name.startswith("mmlu_") else ""
            case = build_case(name, f"{data}/{file}", tokenizer, 2048, shots, f"{data}/{fewshot}" if fewshot else "", 50, keep=0, chat=chat)
            note(case, folder, file, fewshot, False)
    return cases


def smollm2_cases(data, folder):
    cases = []
    model = HFLM(pretrained=folder, dtype="float32", device="cpu", batch_size=1, max_length=2048)
    for name, file in [(name, "tasks/" + file) for name, file in FILES.items() if name != "mmlu_professional_law"] + DERIVED[:-1]:
        derived = (name, file) in DERIVED
        documents = derive(name, f"{data}/{file}") if derived else f"{data}/{file}"
        case = build_case(name, documents, None, 2048, limit=1 if name == "wikitext" else 10, keep=0, model=model)
        case.update(tokenizer="smollm2", data=file, fewshot="", derived=derived)
        cases.append(case)
        print(name, case["metrics"], flush=True)
    return cases + [smollm2_chat_case(data, model)]


def smollm2_chat_case(data, model):
    """Under the checkpoint's own template, which its tokenizer has brought along."""
    file = "tasks/" + FILES["arc_easy"]
    case = build_case("arc_easy", f"{data}/{file}", None, 2048, 2, limit=10, keep=0, model=model, chat="chatml_smollm2")
    case.update(tokenizer="smollm2", data=file, fewshot="", derived=False)
    return case


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", default=os.path.join(ROOT, "..", "shared"))
    parser.add_argument("--skip-shared", action="store_true", help="only what needs no shared data")
    parser.add_argument("--smollm2", default="", help="its folder")
    parser.add_argument("--chat-templates", default="", help="folder of NAME.jinja")
    arguments = parser.parse_args()

    data = os.path.join(arguments.shared, "data")
    if arguments.smollm2:
        write("smollm2.json", smollm2_cases(data, arguments.smollm2))
    documents = lambda name: f"{HERE}/documents/{name}.jsonl"
    texts = [line for path in sorted(glob.glob(HERE + "/documents/*.jsonl")) for line in open(path, encoding="utf-8").read().splitlines()]
    train_tokenizer(HERE + "/golden/tokenizer", texts)
    small = open_tokenizer(HERE + "/golden/tokenizer")
    write("requests.json", small_cases(small, documents))
    if arguments.chat_templates:
        write("chat.json", chat_cases(small, documents, arguments.chat_templates))
    if not arguments.skip_shared:
        write("shared.json", shared_cases(data))


# Their acc_norm is joined by acc_bytes, which lm-eval computes for a task that lists it.
BY_LENGTH = {"piqa", "arc_easy", "arc_challenge", "openbookqa", "hellaswag"}
FILES = {"piqa": "piqa/validation.jsonl", "arc_easy": "arc_easy/validation.jsonl",
         "arc_challenge": "arc_challenge/validation.jsonl", "winogrande": "winogrande/validation.jsonl",
         "openbookqa": "openbookqa/validation.jsonl", "hellaswag": "hellaswag/validation_2000.jsonl",
         "mmlu_anatomy": "mmlu/validation.jsonl",
         "mmlu_professional_law": "mmlu/validation.jsonl",
         "truthfulqa_mc1": "truthfulqa_mc/validation.jsonl", "truthfulqa_mc2": "truthfulqa_mc/validation.jsonl"}
HELLASWAG, PIQA = "tasks/hellaswag/validation_2000.jsonl", "tasks/piqa/validation.jsonl"
DERIVED = [("boolq", HELLASWAG), ("rte", PIQA), ("sglue_rte", PIQA), ("commonsense_qa", "tasks/openbookqa/validation.jsonl"),
           ("lambada_openai", HELLASWAG), ("lambada_standard", PIQA), ("wikitext", "c4/validation_1000.jsonl"),
           ("wikitext", "wikitext2/test.txt")]
GROUP_OF = {}  # of each MMLU subject

if __name__ == "__main__":
    main()
