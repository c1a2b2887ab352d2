#!/usr/bin/env python3
"""SignRound's wall-clock and result: build/harness against auto-round, in one run.

  PEER=/path/to/venv/bin/python bench/signround_speed.py --model models.d/smollm2 --calibration train.txt --text test.txt

PEER has auto-round (0.16), torch and transformers. Both sides get the same calibration tokens (the first samples x length of the text), asymmetric
integers in groups, the same iterations, mini-batches and threads, mixed precision, inputs through the blocks quantized before, and their own defaults
for the rest (auto-round starts from a bfloat16 model, as it does by itself). Times: the quantization alone, loading the model excluded. Both results are
evaluated in float32 on the same windows. stdout: one JSON object.
"""
import argparse
import json
import sys

from peer import add_paths, ids_of, ours, peer_python, perplexity, theirs


def peer(a):
    import time

    import torch
    from auto_round import AutoRound
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(a.threads)
    model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.bfloat16).eval()
    rows = ids_of(a.model, a.calibration, a.samples * a.length).view(a.samples, 1, a.length)
    tuner = AutoRound(
        model, AutoTokenizer.from_pretrained(a.model), bits=a.bits, group_size=a.group_size, sym=False, iters=a.steps,
        nsamples=a.samples, seqlen=a.length, batch_size=a.batch, dataset=list(rows), device_map="cpu",
    )  # fmt: skip
    start = time.perf_counter()
    model, _ = tuner.quantize()
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "perplexity": perplexity(model.float(), a)}))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_paths(p)
    for name, default in [("samples", 128), ("length", 512), ("bits", 3), ("group-size", 64), ("steps", 50), ("batch", 8), ("window", 2048), ("windows", 4), ("threads", 2)]:
        p.add_argument("--" + name, type=int, default=default)
    p.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.peer:
        return peer(a)
    python = peer_python("auto-round")
    mine = ours(a, "preset: signround", {"signround.steps": a.steps, "signround.batch_size": a.batch})
    print(f"ours {mine}", file=sys.stderr)
    other = theirs(a, python)
    print(f"auto-round {other}", file=sys.stderr)
    print(json.dumps({"ours": mine, "theirs": other, "ratio_of_seconds": other["seconds"] / mine["seconds"],
                      "perplexity_ratio": mine["perplexity"] / other["perplexity"]}, indent=1))  # fmt: skip


main()
