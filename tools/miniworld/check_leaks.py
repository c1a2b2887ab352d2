"""Proves that no task item, and no template of one, occurs in the training text, and that the splits are apart.

    python3 tools/miniworld/check_leaks.py [--data datasets/miniworld]

Standard library only; reads nothing but the files. Exit code 1 and one line a finding if something is wrong.

Text is normalised (lower case, words and digits only). For each item, its *pieces* are what the task adds
to what the training text says: PIQA's goal, and goal with each solution; ARC's and BoolQ's question, and
the passage with the question; WinoGrande's sentence with either option; LAMBADA's last sentence, and the
whole text. Then
  1. no piece occurs in the normalised training text of any domain;
  2. no piece's *template* does: with every name and value of the world replaced by a placeholder, a piece's
     sentence
     equals no sentence of the training text;
  3. labels are balanced, items are distinct, fields are complete;
  4. no line of 40 characters or more, and no document, occurs in two splits.
"""

import argparse
import json
import pathlib
import re
import sys
from collections import Counter

from world import World, a, gerund

DOMAINS = ["encyclopedia", "story", "dialogue", "code"]
TRAINING = [f"{d}/train.txt" for d in DOMAINS] + ["encyclopedia/exercises.txt"]
FIELDS = {
    "piqa": {"goal", "sol1", "sol2", "label"},
    "arc": {"id", "question", "choices", "answerKey"},
    "lambada": {"text"},
    "boolq": {"question", "passage", "answer"},
    "winogrande": {"sentence", "option1", "option2", "answer"},
}
NUMBERS = {"two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"}


def normal(text):
    return " ".join(re.findall(r"[a-z0-9]+", text.lower().replace("'s ", " 's ")))


def sentences(text):
    return [s for s in (normal(p) for p in re.split(r"[.!?\n:\"]+", text)) if s]


class Mask:
    """Replaces every subject and value of the world, with its article, by "_" (longest first)."""

    def __init__(self, world):
        words = {s for _, s, _ in world.facts} | {v for _, _, v in world.facts} | NUMBERS
        words |= {gerund(v) for _, _, v in world.facts if " " in v}
        words |= {a(w) for w in words} | {"the " + w for w in words}
        words |= {"he", "she", "it", "his", "her", "its", "him"}
        ordered = sorted({normal(w) for w in words}, key=len, reverse=True)
        self.pattern = re.compile(r"\b(?:" + "|".join(map(re.escape, ordered)) + r")(?: s)?\b")

    def __call__(self, text):
        return self.pattern.sub("_", text)


def pieces(task, item):
    """(whole pieces, the sentences whose template must be new)."""
    if task == "piqa":
        return [item["goal"]] + [item["goal"] + " " + item[s] for s in ("sol1", "sol2")], [item["goal"]]
    if task == "arc":
        return [item["question"]], [item["question"]]
    if task == "boolq":
        return [item["question"], item["passage"] + " " + item["question"]], [item["question"]]
    if task == "winogrande":
        both = [item["sentence"].replace("_", item[o]) for o in ("option1", "option2")]
        return both, both
    last = re.split(r"(?<=[.!?\"]) (?=[A-Z])", item["text"])[-1]
    return [item["text"], last], [last]


def label(task, item):
    return item.get(
        {"piqa": "label", "arc": "answerKey", "boolq": "answer", "winogrande": "answer"}.get(task, ""), None
    )


def check_tasks(data, training, findings):
    mask = Mask(World())
    whole = normal(training)
    seen = {mask(s) for s in set(sentences(training))}
    print(f"training text: {len(training)} characters, {len(seen)} masked sentences")
    for task, fields in FIELDS.items():
        items = [json.loads(line) for line in (data / "tasks" / f"{task}.jsonl").read_text().splitlines()]
        if len(items) < 500 or len({json.dumps(i) for i in items}) != len(items):
            findings.append(f"{task}: fewer than 500 distinct items")
        for item in items:
            if set(item) != fields:
                findings.append(f"{task}: fields {sorted(item)}")
            texts, templates = pieces(task, item)
            findings += [
                f"{task}: in the training text: {t}" for t in texts if f" {normal(t)} " in f" {whole} "
            ]
            findings += [
                f"{task}: template in the training text: {s}"
                for t in templates
                for s in sentences(t)
                if mask(s) in seen
            ]
        counts = Counter(label(task, i) for i in items)
        if task != "lambada" and max(counts.values()) - min(counts.values()) > 1:
            findings.append(f"{task}: labels {dict(counts)}")
        print(f"{task}: {len(items)} items, labels {dict(sorted(counts.items(), key=str))}")


def check_splits(data, findings):
    lines, documents = {}, {}
    for split in ("train", "validation", "test"):
        names = TRAINING if split == "train" else [f"{d}/{split}.txt" for d in DOMAINS]
        texts = [(data / name).read_text().rstrip("\n") for name in names]
        lines[split] = {x.strip() for t in texts for x in t.split("\n") if len(x.strip()) >= 40}
        documents[split] = {d for t in texts for d in t.split("\n\n") if len(d) >= 40}
    for one, two in (("train", "validation"), ("train", "test"), ("validation", "test")):
        findings += [f"line in {one} and {two}: {x}" for x in sorted(lines[one] & lines[two])]
        findings += [f"document in {one} and {two}: {x!r}" for x in sorted(documents[one] & documents[two])]


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=pathlib.Path, default=root / "datasets/miniworld")
    options = parser.parse_args()
    findings = []
    training = "\n\n".join((options.data / name).read_text() for name in TRAINING)
    check_tasks(options.data, training, findings)
    check_splits(options.data, findings)
    for finding in findings[:40]:
        print("LEAK " + finding)
    print(f"{len(findings)} findings")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
