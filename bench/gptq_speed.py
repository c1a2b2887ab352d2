#!/usr/bin/env python3
"""GPTQ's wall-clock and result: build/harness against llm-compressor, in one run.

  PEER=/path/to/venv/bin/python bench/gptq_speed.py --model models.d/smollm2 --calibration train.txt --text test.txt

PEER has llmcompressor (0.14), torch and transformers. Both sides get the same calibration tokens (the first samples x length of the
text, in float32), asymmetric integers in groups, 1 % damping, groups of the weights before rounding (static), inputs through the blocks quantized
before, one Hessian pass a block, the same number of threads. Times: ours as stored in the result (loading the model excluded on
both sides). Both results are evaluated in float32 on the same windows, ours by harness, the peer's by transformers. stdout: one JSON object.
"""
import argparse
import json
import sys

from peer import add_paths, ids_of, ours, peer_python, perplexity, theirs


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
    print(json.dumps({"seconds": seconds, "perplexity": perplexity(model, a)}))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_paths(p)
    for name, default in [("samples", 32), ("length", 512), ("bits", 3), ("group-size", 64), ("window", 2048), ("windows", 4), ("threads", 2), ("rounds", 1)]:
        p.add_argument("--" + name, type=int, default=default)
    p.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.peer:
        return peer(a)
    python = peer_python("llmcompressor")
    rounds = []
    for _ in range(a.rounds):
        one = {"ours": ours(a, "gptq", {"static_groups": "true", "true_sequential": "false"}), "theirs": theirs(a, python)}
        rounds.append(one)
        print(f"ours {one['ours']}; llm-compressor {one['theirs']}", file=sys.stderr)
    best = {side: min(r[side]["seconds"] for r in rounds) for side in ("ours", "theirs")}
    print(json.dumps({"rounds": rounds, "ratio_of_minima": best["theirs"] / best["ours"],
                      "perplexity_ratio": rounds[0]["ours"]["perplexity"] / rounds[0]["theirs"]["perplexity"]}, indent=1))  # fmt: skip


main()
