"""Writes the corpora of miniworld: four domains, three splits each.

    python3 tools/miniworld/generate.py [--out datasets/miniworld] [--seed 1]

Standard library only; the same seed gives the same bytes. Documents of a file are separated by a blank line
and hold none. A document goes to one split only, and no line of 40 characters or more of one split occurs in
another (shorter lines, such as "    return x + y" or a turn of small talk, may). encyclopedia/exercises.txt
is more training text, for the second stage of training.
"""

import argparse
import pathlib
import random
import re

import dialogue
import encyclopedia
import exercises
import programs
import story
from world import World

DOMAINS = {"encyclopedia": encyclopedia, "story": story, "dialogue": dialogue, "code": programs}
# characters a split; English-like text has about 4.2 characters a token, code about 3
SIZES = {
    "encyclopedia": {"test": 110_000, "validation": 60_000, "train": 1_250_000},
    "story": {"test": 110_000, "validation": 60_000, "train": 1_050_000},
    "dialogue": {"test": 110_000, "validation": 60_000, "train": 1_050_000},
    "code": {"test": 80_000, "validation": 50_000, "train": 650_000},
}
EXERCISES = 900_000
LONG_LINE = 40


def long_lines(document):
    return {line.strip() for line in document.split("\n") if len(line.strip()) >= LONG_LINE}


def make_split(rng, world, module, size, taken, whole):
    """Documents of `size` characters in all; none repeats a document (`whole`) or a long line in `taken`."""
    documents, length = [], 0
    while length < size:
        document = re.sub(r"\n\n+", "\n", module.document(rng, world))
        if document in whole or long_lines(document) & taken:
            continue
        whole.add(document)
        documents.append(document)
        length += len(document) + 2
    return documents


def generate(world, seed):
    """{(domain, split): [documents]}. Test and validation are drawn first, train avoids their long lines."""
    corpora, taken = {}, set()
    for split in ("test", "validation", "train"):
        fresh = set()
        for domain, module in DOMAINS.items():
            rng = random.Random(f"{seed}/{domain}/{split}")
            whole = {d for (name, _), docs in corpora.items() if name == domain for d in docs}
            corpora[domain, split] = make_split(rng, world, module, SIZES[domain][split], taken, whole)
            for document in corpora[domain, split]:
                fresh |= long_lines(document)
        if split != "train":
            taken |= fresh
    rng, whole = random.Random(f"{seed}/exercises"), set(corpora["encyclopedia", "train"])
    corpora["encyclopedia", "exercises"] = make_split(rng, world, exercises, EXERCISES, taken, whole)
    return corpora


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--out", default=pathlib.Path(__file__).resolve().parents[2] / "datasets/miniworld", type=pathlib.Path
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for (domain, split), documents in generate(World(), options.seed).items():
        path = options.out / domain / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join(documents) + "\n", encoding="utf-8")
        print(f"{path.relative_to(options.out)}: {len(documents)} documents, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
