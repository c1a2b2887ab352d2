#!/usr/bin/env python3
"""The time to score a text by a fake-quantized model, its codes unpacked and dequantized first, over the time of the model in full precision. Aim: at most 1.05.

  bench/dequantized_speed.py --model models.d/smollm2 --calibration train.txt --text test.txt [--dtype bfloat16]

Both by `build/harness eval` on the same windows; times as stored in the cells, which hold loading the model (mapping the checkpoint; reading and dequantizing the artifact) and
every product. The least of --rounds, by turns. `l2qer` beside it has the low-rank branches' products as well, and no aim. stdout: one JSON object.
"""
import argparse
import json
import subprocess
import sys

from peer import add_paths


def seconds(a, method):
    command = [a.program, "eval", "--model", a.model, "--text", a.text, "--window", str(a.window), "--windows", str(a.windows), "--dtype", a.dtype,
               "--threads", str(a.threads), "--json"]  # fmt: skip
    if method:
        command += ["--method", method, "--calibration", a.calibration, "--samples", "2", "--length", "128"]
        command += ["--set", f"quantization.weights.bits={a.bits}", "--set", f"quantization.weights.group_size={a.group_size}"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)["seconds"]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_paths(p)
    for name, default in [("bits", 4), ("group-size", 64), ("window", 512), ("windows", 32), ("threads", 1), ("rounds", 3)]:
        p.add_argument("--" + name, type=int, default=default)
    p.add_argument("--dtype", default="float32")
    a = p.parse_args()
    rounds = []
    for _ in range(a.rounds):
        rounds.append({method or "full precision": seconds(a, method) for method in ("", "rtn", "l2qer")})
        print(rounds[-1], file=sys.stderr)
    least = {name: min(r[name] for r in rounds) for name in rounds[0]}
    print(json.dumps({"rounds": rounds, "ratio": least["rtn"] / least["full precision"], "ratio_with_branches": least["l2qer"] / least["full precision"]}, indent=1))


main()
