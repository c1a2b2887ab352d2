"""Turns the JSON files of evaluate.py, one a training seed, into the tables of datasets/miniworld/README.md.

python3 tools/miniworld/figures.py seed0.json seed1.json seed2.json
"""

import json
import math
import sys

DOMAINS = ["encyclopedia", "story", "dialogue", "code"]
TASKS = ["piqa", "arc", "lambada", "boolq", "winogrande"]
RUNS = ["full", "rtn4", "rtn3", "rtn2", "gptq4", "gptq3", "gptq2"]
NAMES = {"full": "full precision"}


def mean_and_error(values):
    mean = sum(values) / len(values)
    return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))


def main():
    print("| seed | weights | " + " | ".join(DOMAINS + TASKS) + " |")
    print("|---" * (2 + len(DOMAINS) + len(TASKS)) + "|")
    every = [json.load(open(path)) for path in sys.argv[1:]]
    for seed, runs in enumerate(every):
        for run in [r for r in RUNS if r in runs]:
            ppl = [f"{math.exp(mean_and_error(runs[run]['nll'][d])[0]):.3f}" for d in DOMAINS]
            acc = [f"{mean_and_error(runs[run]['acc'][t])[0]:.3f}" for t in TASKS]
            name = NAMES.get(run, f"{run[:-1].upper()} {run[-1]}-bit")
            print(f"| {seed} | {name} | " + " | ".join(ppl + acc) + " |")
    print()
    print("| seed | RTN minus GPTQ | nats a token | accuracy, all tasks |")
    print("|---|---|---|---|")
    for seed, runs in enumerate(every):
        for bits in "32":
            one, two = runs.get("rtn" + bits), runs.get("gptq" + bits)
            if not one or not two:
                continue
            loss = [a - b for d in DOMAINS for a, b in zip(one["nll"][d], two["nll"][d])]
            hits = [a - b for t in TASKS for a, b in zip(one["acc"][t], two["acc"][t])]
            (m, e), (n, f) = mean_and_error(loss), mean_and_error(hits)
            print(f"| {seed} | {bits}-bit | {m:+.4f} ± {e:.4f} | {n:+.3f} ± {f:.3f} |")


if __name__ == "__main__":
    main()
