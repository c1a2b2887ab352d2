#!/usr/bin/env python3
"""What a second rank brings, and what sharing brings: one experiment in several arrangements, in one run.

  source build/env.sh; bench/scaling.py --model models.d/smollm2 --calibration train.txt --text test.txt

Every rank has one thread. For each kind of work: T1, one rank; T2, one run on two ranks; I2, two runs of one rank at the same time, each
on a database of its own. Two ranks should finish one run in half of the time that two independent processes need for two:
efficiency = (I2 / 2) / T2. Kinds: evaluation of the full-precision model; GPTQ and AWQ on both streams (seconds of the quantization as stored).
--sharing: a grid of RTN, GPTQ, AWQ and AWQ+GPTQ at 4, 3 and 2 bits on the full-precision stream as one run, against its twelve cells alone,
and against the twelve without their statistics passes and 1.15 of one pass.
stdout: one JSON object.
"""
import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")


def experiment(a, methods, bits, windows, full_precision):
    cells = {
        "models": [{"path": os.path.abspath(a.model)}],
        "full_precision": full_precision,
        "evaluation": [{"task": "perplexity", "corpus": os.path.abspath(a.text), "window": a.window, "windows": windows}],
    }
    if methods:
        cells["methods"] = methods
        cells["quantization"] = [{"name": f"w{b}", "weights": {"bits": b, "group_size": a.group_size}} for b in bits]
        cells["calibration"] = [{"name": "text", "corpus": os.path.abspath(a.calibration), "samples": a.samples, "length": a.length}]
    return cells


class Run:
    """One start of the program; wall-clock, and what the database says of its quantizations."""

    def __init__(self, a, folder, name, cells, ranks):
        self.database = os.path.join(folder, name + ".db")
        path = os.path.join(folder, name + ".yaml")
        json.dump(cells, open(path, "w"))  # JSON is YAML
        launch = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
        self.start = time.perf_counter()
        self.process = subprocess.Popen(launch + [a.program, "run", path, "--db", self.database, "--quiet"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def wait(self):
        error = self.process.communicate()[1]
        self.wall = time.perf_counter() - self.start
        if self.process.returncode:
            sys.exit(f"a run failed: {error[-1000:]}")
        db = sqlite3.connect(self.database)
        self.quantize = db.execute("SELECT max(seconds) FROM quantization").fetchone()[0] or 0.0
        self.statistics = db.execute("SELECT sum(value) FROM layer_metric WHERE name = 'statistics'").fetchone()[0] or 0
        self.solve = db.execute("SELECT sum(value) FROM layer_metric WHERE name = 'seconds'").fetchone()[0] or 0.0
        return self


def efficiency(a, folder, name, cells, seconds):
    one = Run(a, folder, name + "-1", cells, 1).wait()
    two = Run(a, folder, name + "-2", cells, 2).wait()
    pair = [Run(a, folder, f"{name}-i{i}", cells, 1) for i in range(2)]
    apart = max(seconds(run.wait()) for run in pair)
    result = {"one_rank": seconds(one), "two_ranks": seconds(two), "two_independent": apart}
    result["efficiency"] = apart / 2 / result["two_ranks"]
    print(f"{name}: {result}", file=sys.stderr)
    return result


def sharing(a, folder):
    gptq = {"gptq": {"true_sequential": False}}
    methods = ["rtn", {"name": "gptq", "preset": "gptq", "input": "full_precision", **gptq}, "awq",
               {"name": "awq+gptq", "steps": ["awq_scale", "awq_clip", "gptq"], "input": "full_precision", **gptq}]  # fmt: skip
    bits = [4, 3, 2]
    whole = Run(a, folder, "grid", experiment(a, methods, bits, 1, False), 1).wait()
    alone, passes = [], []
    for m, method in enumerate(methods):
        for b in bits:
            run = Run(a, folder, f"alone-{m}-{b}", experiment(a, [method], [b], 1, False), 1).wait()
            alone.append(run.wall)
            if m == 1:  # GPTQ without its solves: what it takes to have the statistics
                passes.append(run.quantize - run.solve)
            print(f"alone {method if isinstance(method, str) else method['name']} {b} bits: {run.wall:.1f} s", file=sys.stderr)
    one_pass = sum(passes) / len(passes)
    bound = sum(alone) - (len(alone) - len(bits)) * one_pass + 1.15 * one_pass  # RTN reads no statistics
    return {"grid_seconds": whole.wall, "alone_seconds": sum(alone), "ratio": whole.wall / sum(alone), "statistics_pass_seconds": one_pass,
            "solves_and_one_pass_seconds": bound, "statistics_computed": whole.statistics}  # fmt: skip


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True)
    p.add_argument("--calibration", required=True)
    p.add_argument("--text", required=True)
    for name, default in [("samples", 16), ("length", 256), ("group-size", 64), ("window", 512), ("windows", 32)]:
        p.add_argument("--" + name, type=int, default=default)
    p.add_argument("--program", default=os.path.join(ROOT, "build/harness"))
    p.add_argument("--sharing", action="store_true")
    p.add_argument("--kinds", default="evaluation,gptq,awq")
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if a.sharing:
            result = sharing(a, folder)
        else:
            result = {}
            if "evaluation" in a.kinds:
                result["evaluation"] = efficiency(a, folder, "evaluation", experiment(a, [], [], a.windows, True), lambda r: r.wall)
            for preset in ("gptq", "awq"):
                for stream in ("quantized_prefix", "full_precision"):
                    if preset in a.kinds:
                        cells = experiment(a, [{"name": preset, "preset": preset, "input": stream}], [3], 1, False)
                        result[f"{preset} {stream}"] = efficiency(a, folder, f"{preset}-{stream}", cells, lambda r: r.quantize)
    print(json.dumps(result, indent=1))


main()
