#!/usr/bin/env python3
"""Memory of quantizing and evaluating checkpoints under memory_limit, by kind of page.

  tools/random_checkpoint.py --out half --tokenizer models.d/smollm2 --layers 14; tools/random_checkpoint.py --out whole --tokenizer models.d/smollm2 --layers 28
  bench/memory.py --models half,whole --calibration train.txt --text test.txt

Each model is a run of its own, one rank with one thread: the full-precision row, RTN and GPTQ (4 bits, groups of 64), perplexity of --windows
windows. Every --interval seconds /proc says what the process holds: anonymous pages (what memory_limit is about), and pages of mapped
files (checkpoint, artifacts, spilled states), which the system takes back when it needs them. --limits 64MiB beside 2GiB shows
spilling. stdout: one JSON object; growth: anonymous peak of the last model over that of the first.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
KINDS = {"RssAnon": "anonymous", "RssFile": "file", "RssShmem": "shared"}


def resident(pid):
    """MiB by kind; nothing when the process is gone."""
    pages = {}
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
            for line in status:
                key, _, value = line.partition(":")
                if key in KINDS:
                    pages[KINDS[key]] = int(value.split()[0]) / 1024
    except (OSError, ValueError):
        return {}
    return pages


def measure(a, folder, model, number):
    cells = {
        "models": [{"path": os.path.abspath(model)}],
        "memory_limit": a.limit,
        "threads": 1,
        "compute_dtype": a.dtype,
        "methods": a.methods.split(","),
        "quantization": [{"name": "w4", "weights": {"bits": 4, "group_size": 64}}],
        "calibration": [{"name": "text", "corpus": os.path.abspath(a.calibration), "samples": a.samples, "length": a.length}],
        "evaluation": [{"task": "perplexity", "corpus": os.path.abspath(a.text), "window": a.window, "windows": a.windows}],
        "full_precision": a.full_precision,
    }
    experiment = os.path.join(folder, f"{number}.yaml")
    with open(experiment, "w", encoding="utf-8") as file:
        json.dump(cells, file)  # JSON is YAML
    peak, timeline = dict.fromkeys([*KINDS.values(), "all"], 0.0), []
    start = time.perf_counter()
    with open(os.path.join(folder, f"{number}.err"), "w+", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [a.program, "run", experiment, "--db", os.path.join(folder, f"{number}.db"), "--quiet"],
            stdout=subprocess.PIPE, stderr=errors, text=True, env=dict(os.environ, OMP_NUM_THREADS="1"))  # fmt: skip
        while process.poll() is None:
            pages = resident(process.pid)
            pages["all"] = sum(pages.values())
            for kind, size in pages.items():
                peak[kind] = max(peak[kind], size)
            timeline.append([round(time.perf_counter() - start, 2), round(pages.get("anonymous", 0)), round(pages.get("file", 0))])
            time.sleep(a.interval)
        seconds, table = time.perf_counter() - start, process.stdout.read()
        if process.returncode:
            errors.seek(0)
            sys.exit(f"{model}: exit code {process.returncode}: {errors.read()[-1000:]}")
    if a.timeline:
        with open(f"{a.timeline}.{number}", "w", encoding="utf-8") as file:
            file.writelines(f"{t} {anonymous} {mapped}\n" for t, anonymous, mapped in timeline)
    print(table, file=sys.stderr)
    with open(os.path.join(model, "config.json"), encoding="utf-8") as file:
        blocks = json.load(file)["num_hidden_layers"]
    return {"model": model, "blocks": blocks, "peak_mib": {kind: round(size, 1) for kind, size in peak.items()}, "seconds": round(seconds, 1)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", required=True, help="checkpoints, by comma, the one with the fewest blocks first")
    p.add_argument("--calibration", required=True)
    p.add_argument("--text", required=True)
    for name, default in [("samples", 8), ("length", 512), ("window", 512), ("windows", 4)]:
        p.add_argument("--" + name, type=int, default=default)
    p.add_argument("--methods", default="rtn,gptq")
    p.add_argument("--limit", default="2GiB", help="memory_limit of the experiment")
    p.add_argument("--dtype", default="float32")
    p.add_argument("--no-full-precision", dest="full_precision", action="store_false")
    p.add_argument("--interval", type=float, default=0.05)
    p.add_argument("--timeline", metavar="FILE", help="also writes FILE.<number of the model>: seconds, anonymous and mapped MiB")
    p.add_argument("--program", default=os.path.join(ROOT, "build/harness"))
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = [measure(a, folder, model, i) for i, model in enumerate(a.models.split(","))]
    growth = runs[-1]["peak_mib"]["anonymous"] - runs[0]["peak_mib"]["anonymous"]
    print(json.dumps({"limit": a.limit, "runs": runs, "growth_mib": round(growth, 1)}, indent=1))


main()
