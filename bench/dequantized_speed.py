#!/usr/bin/env python3
"""The time to score a text by a fake-quantized model, its codes unpacked and dequantized first, over the time of the model in full precision. Aim: at most 1.05.

  bench/dequantized_speed.py --model models.d/smollm2 --calibration train.txt --text test.txt [--dtype bfloat16] [--branches]

Each model is quantized once; then `build/harness run` scores the same windows from the stored artifact, by turns with full precision. Two times: processor seconds of the whole
program (tokens included), which other work on the machine changes little, and wall-clock as stored in the cells; both hold loading the model (mapping the checkpoint; reading and
dequantizing the artifact) and every product. The least of --rounds. --branches: `l2qer` beside it, which has the low-rank branches' products as well, and no aim.
stdout: one JSON object.
"""
import argparse
import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile

from peer import add_paths


def run(a, folder, method, windows):
    cells = {"models": [{"path": os.path.abspath(a.model)}], "compute_dtype": a.dtype, "threads": a.threads, "full_precision": not method,
             "evaluation": [{"task": "perplexity", "corpus": os.path.abspath(a.text), "window": a.window, "windows": windows}]}  # fmt: skip
    if method:
        cells["methods"] = [method]
        cells["quantization"] = [{"name": "w", "weights": {"bits": a.bits, "group_size": a.group_size}}]
        cells["calibration"] = [{"name": "text", "corpus": os.path.abspath(a.calibration), "samples": 2, "length": 128}]
    path = os.path.join(folder, "cells.yaml")
    with open(path, "w") as file:
        json.dump(cells, file)  # JSON is YAML
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([a.program, "run", path, "--db", os.path.join(folder, "run.db"), "--quiet"], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = sqlite3.connect(os.path.join(folder, "run.db")).execute("SELECT seconds FROM cell ORDER BY id DESC LIMIT 1").fetchone()[0]
    return {"processor_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, "cell_seconds": seconds}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_paths(p)
    for name, default in [("bits", 4), ("group-size", 64), ("window", 512), ("windows", 32), ("threads", 1), ("rounds", 3)]:
        p.add_argument("--" + name, type=int, default=default)
    p.add_argument("--dtype", default="float32")
    p.add_argument("--branches", action="store_true", help="l2qer, too")
    a = p.parse_args()
    methods = ["", "rtn"] + (["l2qer"] if a.branches else [])
    rounds = []
    with tempfile.TemporaryDirectory() as root:
        for method in methods[1:]:
            os.mkdir(os.path.join(root, method))
            run(a, os.path.join(root, method), method, 1)
        for _ in range(a.rounds):
            one = {}
            for method in methods:
                folder = os.path.join(root, "round")
                if method:
                    shutil.copytree(os.path.join(root, method), folder)
                else:
                    os.mkdir(folder)
                one[method or "full precision"] = run(a, folder, method, a.windows)
                shutil.rmtree(folder)
            rounds.append(one)
            print(one, file=sys.stderr)
    ratios = {f"{method} {time}": min(r[method][time] for r in rounds) / min(r["full precision"][time] for r in rounds)
              for method in methods[1:] for time in ("processor_seconds", "cell_seconds")}  # fmt: skip
    print(json.dumps({"rounds": rounds, "ratios": ratios}, indent=1))


main()
