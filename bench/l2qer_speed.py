#!/usr/bin/env python3
"""The time of an L2QER pass, SVDs included, over the time of GPTQ, both by build/harness on the same calibration tokens. Aim: at most 2.

  bench/l2qer_speed.py --model models.d/smollm2 --calibration train.txt --text test.txt

Times: the quantization alone as stored in the result, the least of --rounds, by turns. L2QER: round to nearest, rank 32, factors of 8 bits, spectra recorded (the
preset). GPTQ: its preset. The same weights (integers in groups), samples and threads. stdout: one JSON object.
"""
import argparse
import json
import sys

from peer import add_paths, ours


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_paths(p)
    for name, default in [("samples", 16), ("length", 512), ("bits", 3), ("group-size", 64), ("rank", 32), ("window", 512), ("windows", 4), ("threads", 1), ("rounds", 2)]:
        p.add_argument("--" + name, type=int, default=default)
    a = p.parse_args()
    rounds = []
    for _ in range(a.rounds):
        rounds.append({"gptq": ours(a, "preset: gptq", {}), "l2qer": ours(a, "preset: l2qer", {"l2qer.rank": a.rank})})
        print(rounds[-1], file=sys.stderr)
    least = {name: min(r[name]["seconds"] for r in rounds) for name in ("gptq", "l2qer")}
    print(json.dumps({"rounds": rounds, "ratio": least["l2qer"] / least["gptq"]}, indent=1))


main()
