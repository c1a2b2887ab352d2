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
import math
import os
import subprocess
import sys
import tempfile

from gptq_speed import ROOT, ids_of


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
    model = model.float()
    x = ids_of(a.model, a.text, a.window * a.windows).view(a.windows, a.window)
    total = 0.0
    with torch.inference_mode():
        for row in x:
            logits = model(row[None]).logits[0, :-1].float()
            total += torch.nn.functional.cross_entropy(logits, row[1:], reduction="sum").item()
    print(json.dumps({"seconds": seconds, "perplexity": math.exp(total / (x.numel() - a.windows))}))


def ours(a):
    command = [
        a.program, "eval", "--model", a.model, "--method", "signround", "--calibration", a.calibration,
        "--samples", str(a.samples), "--length", str(a.length), "--text", a.text, "--window", str(a.window),
        "--windows", str(a.windows), "--threads", str(a.threads), "--json",
        "--set", f"quantization.weights.bits={a.bits}", "--set", f"quantization.weights.group_size={a.group_size}",
        "--set", "quantization.weights.symmetric=false", "--set", f"methods.signround.steps={a.steps}",
        "--set", f"methods.signround.batch_size={a.batch}",
    ]  # fmt: skip
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return {"seconds": result["quantization_seconds"], "perplexity": result["metrics"]["perplexity"]}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True)
    p.add_argument("--calibration", required=True)
    p.add_argument("--text", required=True)
    for name, default in [("samples", 128), ("length", 512), ("bits", 3), ("group-size", 64), ("steps", 50), ("batch", 8), ("window", 2048), ("windows", 4), ("threads", 2)]:
        p.add_argument("--" + name, type=int, default=default)
    p.add_argument("--program", default=os.path.join(ROOT, "build/harness"))
    p.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.peer:
        return peer(a)
    python = os.environ.get("PEER") or sys.exit("PEER must name a Python that has auto-round")
    mine = ours(a)
    print(f"ours {mine}", file=sys.stderr)
    environment = dict(os.environ, OMP_NUM_THREADS=str(a.threads), HF_HUB_OFFLINE="1")
    with tempfile.TemporaryDirectory() as folder:  # the peer leaves files where it runs
        command = [python, os.path.abspath(__file__), "--peer", *sys.argv[1:]]
        for i, word in enumerate(command):
            if os.path.exists(word):
                command[i] = os.path.abspath(word)
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=folder)
    if done.returncode:
        sys.exit(f"the peer failed: {done.stderr[-2000:]}")
    theirs = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"auto-round {theirs}", file=sys.stderr)
    print(json.dumps({"ours": mine, "theirs": theirs, "ratio_of_seconds": theirs["seconds"] / mine["seconds"],
                      "perplexity_ratio": mine["perplexity"] / theirs["perplexity"]}, indent=1))  # fmt: skip


main()
