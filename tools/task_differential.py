#!/usr/bin/env python3
"""Compares requests and metrics with lm-eval 0.4.13 over documents that are changed at random: other alphabets, white space of all kinds, marks of
templates and tokenizers, brackets, figures, empty-looking words.

  tools/task_differential.py [--shared ../shared] [--test build/tests/evaluators_test] [--documents 80] [--seed 0] [--chat-templates DIR] [TOKENIZER ...]
                             run with a Python that has lm-eval 0.4.13, transformers 5 and tokenizers (tools/task_golden.py)

Each TOKENIZER is a folder; without one, a small tokenizer is trained on the changed documents. For each: requests of every task with 0 and 3 shots, id
for id; metrics of made-up answers, to 1e-9, and their standard errors; with --chat-templates (as task_golden.py's) six tasks under each template. The comparing
is done by evaluators_test; exit code 1 when anything differs.
"""
import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

import task_golden as golden

PIECES = ["\u00e9", "e\u0301", "\u4f60\u597d", "\U0001f642", "\u200d", "\u00a0", "\u2028", "\u3000", "[title]", " [title] ", "[substeps]", "[step]", "  ", "\t", "\n", "\n\n",
          " \n ", "_", "__", "{{x}}", "{% if %}", "%s", "\\n", "\\", '"', "'", "\u201c", "\u2019", "...", "?", "!", ".", ",", ":", ";", "-", "--", "@-@", " @,@ ", "<s>", "</s>",
          "<unk>", "0", "7", "1.", "I", "the", "THE", "\u00df", "\u0130", "\ufb01", "\u2116", "\u00bd", "\x85", "\x0b", "\x1c", "\ufeff", "$", "#", "&amp;", "<b>", "``", "''",
          "A.", "Answer:", "\r", "\r\n"]  # fmt: skip
KEPT = {"answerKey", "label", "subject", "answer", "split", "split_type", "ind", "source_id", "id"}


def changed(rng, text):
    result = text
    for _ in range(rng.choice((0, 1, 2, 3, 4))):
        at, piece, words = rng.randint(0, len(result)), rng.choice(PIECES), result.split(" ")
        result = rng.choice([
            result[:at] + piece + result[at:], result[:at] + piece + result[at:], result[:at] + piece + result[at:], piece + result, result + piece,
            " " + result, result + " ", result.upper(), result.lower(), result[: max(1, at)], piece, str(rng.randint(0, 99)), " ".join(rng.sample(words, len(words))),
        ])  # fmt: skip
    return result if result.strip() else text


def changed_document(rng, value, key=None):
    if isinstance(value, str):
        return value if key in KEPT else changed(rng, value)
    if isinstance(value, list):
        return [changed_document(rng, v, key) for v in value]
    if isinstance(value, dict):
        return {k: changed_document(rng, v, k) for k, v in value.items()}
    return value


def write_documents(rng, a, folder):
    data = os.path.join(a.shared, "data")
    texts = []
    for name, file in list(golden.FILES.items()) + golden.DERIVED:
        path = f"{folder}/documents/{name}.jsonl"
        if name == "mmlu_professional_law" or os.path.exists(path):  # as mmlu_anatomy; a second source
            continue
        source = f"{data}/{file}" if (name, file) in golden.DERIVED else f"{data}/tasks/{file}"
        documents = golden.derive(name, source) if (name, file) in golden.DERIVED else golden.read(source)
        documents = [d for d in documents if len(json.dumps(d)) < 3000 and d.get("subject", name[5:]) == name[5:]]
        with open(path, "w", encoding="utf-8") as out:
            for document in rng.sample(documents, min(a.documents, len(documents))):
                other = changed_document(rng, document)
                if name == "winogrande" and "_" not in other["sentence"] or name.startswith("lambada") and " " not in other["text"].strip():
                    other = document
                texts.append(json.dumps(other, ensure_ascii=rng.random() < 0.5))
                out.write(texts[-1] + "\n")
    return texts


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("tokenizers", nargs="*", metavar="TOKENIZER")
    p.add_argument("--shared", default=os.path.join(golden.ROOT, "..", "shared"))
    p.add_argument("--test", default=os.path.join(golden.ROOT, "build/tests/evaluators_test"))
    p.add_argument("--documents", type=int, default=80)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--chat-templates", default="")
    a = p.parse_args()
    failed = 0
    for number, tokenizer in enumerate(a.tokenizers or [""]):
        with tempfile.TemporaryDirectory() as folder:
            os.makedirs(folder + "/documents")
            os.makedirs(folder + "/golden")
            texts = write_documents(random.Random(f"{a.seed} {number}"), a, folder)
            if tokenizer:
                shutil.copytree(tokenizer, folder + "/golden/tokenizer", ignore=shutil.ignore_patterns("*.safetensors"))
            else:
                golden.train_tokenizer(folder + "/golden/tokenizer", texts)
            small = golden.open_tokenizer(folder + "/golden/tokenizer")
            golden.HERE, documents = folder, lambda name: f"{folder}/documents/{name}.jsonl"
            cases = []
            for name in sorted(file[:-6] for file in os.listdir(folder + "/documents")):
                for shots in (0,) if name == "wikitext" else (0, 3):
                    cases.append(golden.build_case(name, documents(name), small, 2048, shots, score=not shots) | {"fewshot": ""})
            golden.write("requests.json", cases)
            wanted = "LmEval.RequestsOver*"
            if a.chat_templates:
                golden.write("chat.json", golden.chat_cases(small, documents, a.chat_templates))
                wanted += ":LmEval.RequestsUnder*"
            done = subprocess.run([a.test, "--gtest_filter=" + wanted], env=dict(os.environ, TASK_DIFFERENTIAL=folder), capture_output=True, text=True)
            print(f"{tokenizer or 'a tokenizer of its own'}: {sum(case['count'] for case in cases)} requests of {len(cases)} cases: {'differ' if done.returncode else 'equal'}", flush=True)
            if done.returncode:
                failed = 1
                print(done.stdout[-6000:])
    sys.exit(failed)


main()
