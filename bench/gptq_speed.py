#!/usr/bin/env python3
"""GPTQ's wall-clock and result: build/harness against llm-compressor, in one run.

  PEER=/path/to/venv/bin/python bench/gptq_speed.py --model models.d/smollm2 --calibration train.txt --text test.txt

PEER has llmcompressor (0.14), torch and transformers. Both sides get the same calibration tokens (the first samples x length of the
text, in float32), asymmetric integers in groups, 1 % damping, groups of the weights before rounding (static), inputs through the blocks quantized
before, one Hessian pass a block, the same number of threads. Times: ours as stored in the result (loading the model excluded on
both sides). Both results are evaluated by the peer's transformers in float32 on the same windows. stdout: one JSON object.
"""
import argparse
import json
import math
import os
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")


def ids_of(directory, text, count):
    from transformers import AutoTokenizer

    raw = open(text, encoding="utf-8", newline="").read(20 * count)
    return AutoTokenizer.from_pretrained(directory)(raw, return_tensors="pt", add_special_tokens=False).input_ids[0, :count]


def peer(a):
    import time

    import torch
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(a.threads)
    model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32).eval()
    rows = ids_of(a.model, a.calibration, a.samples * a.length).view(a.samples, a.length).tolist()
    data = Dataset.from_dict({"input_ids": rows, "attention_mask": [[1] * a.length] * a.samples})
    weights = {"num_bits": a.bits, "type": "int", "symmetric": False, "strategy": "group", "group_size": a.group_size}
    recipe = GPTQModifier(
        config_groups={"group_0": {"targets": ["Linear"], "weights": weights}},
        ignore=["lm_head"],
        block_size=128,
        dampening_frac=0.01,
        actorder=None,
    )
    start = time.perf_counter()
    oneshot(
        model=model,
        dataset=data,
        recipe=recipe,
        max_seq_length=a.length,
        num_calibration_samples=a.samples,
        shuffle_calibration_samples=False,
    )
    seconds = time.perf_counter() - start
    x = ids_of(a.model, a.text, a.window * a.windows).view(a.windows, a.window)
    total = 0.0
    with torch.inference_mode():
        for row in x:
            logits = model(row[None]).logits[0, :-1].float()
            total += torch.nn.functional.cross_entropy(logits, row[1:], reduction="sum").item()
    print(json.dumps({"seconds": seconds, "perplexity": math.exp(total / (x.numel() - a.windows))}))


def ours(a):
    command = [
        a.program, "eval", "--model", a.model, "--method", "gptq", "--calibration", a.calibration,
        "--samples", str(a.samples), "--length", str(a.length), "--text", a.text, "--window", str(a.window),
        "--windows", str(a.windows), "--threads", str(a.threads), "--json",
        "--set", f"quantization.weights.bits={a.bits}", "--set", f"quantization.weights.group_size={a.group_size}",
        "--set", "quantization.weights.symmetric=false", "--set", "methods.gptq.static_groups=true",
        "--set", "methods.gptq.true_sequential=false",
    ]  # fmt: skip
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return {"seconds": result["quantization_seconds"], "perplexity": result["metrics"]["perplexity"]}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True)
    p.add_argument("--calibration", required=True)
    p.add_argument("--text", required=True)
    for name, default in [("samples", 32), ("length", 512), ("bits", 3), ("group-size", 64), ("window", 2048), ("windows", 4), ("threads", 2), ("rounds", 1)]:
        p.add_argument("--" + name, type=int, default=default)
    p.add_argument("--program", default=os.path.join(ROOT, "build/harness"))
    p.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.peer:
        return peer(a)
    python = os.environ.get("PEER") or sys.exit("PEER must name a Python that has llmcompressor")
    environment = dict(os.environ, OMP_NUM_THREADS=str(a.threads), HF_HUB_OFFLINE="1")
    rounds = []
    for _ in range(a.rounds):
        mine = ours(a)
        with tempfile.TemporaryDirectory() as folder:  # the peer leaves logs where it runs
            command = [python, os.path.abspath(__file__), "--peer", *sys.argv[1:]]
            for i, word in enumerate(command):
                if os.path.exists(word):
                    command[i] = os.path.abspath(word)
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=folder)
        if done.returncode:
            sys.exit(f"the peer failed: {done.stderr[-2000:]}")
        theirs = json.loads(done.stdout.strip().splitlines()[-1])
        rounds.append({"ours": mine, "theirs": theirs})
        print(f"ours {mine['seconds']:.1f} s, perplexity {mine['perplexity']:.3f}; llm-compressor {theirs['seconds']:.1f} s, {theirs['perplexity']:.3f}", file=sys.stderr)
    best = {side: min(r[side]["seconds"] for r in rounds) for side in ("ours", "theirs")}
    print(json.dumps({"rounds": rounds, "ratio_of_minima": best["theirs"] / best["ours"],
                      "perplexity_ratio": rounds[0]["ours"]["perplexity"] / rounds[0]["theirs"]["perplexity"]}, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
