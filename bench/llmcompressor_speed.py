#!/usr/bin/env python3
"""A method's wall-clock and result: build/harness against llm-compressor, in one run.

  PEER=/path/to/venv/bin/python bench/llmcompressor_speed.py gptq|awq --model models.d/smollm2 --calibration train.txt --text test.txt

PEER has llmcompressor (0.14), torch and transformers. Both sides get the same calibration tokens (the first samples x length of the text, in float32), asymmetric integers in
groups, zeros inside of every group's range, the same number of threads.
  gptq  1 % damping, groups of the weights before rounding (static), inputs through the blocks quantized before, one Hessian pass a block.
  awq   scales by activations and weights (duo), 20 exponents from 0 to 1 (0.95), no clipping, then rounding; inputs of the full-precision model.
Times: ours as stored in the result (loading the model excluded on both sides); beside them processor seconds, which say more on a busy machine with one thread, though ours
hold the whole program, evaluation included, and the peer's the quantization alone. Both results are evaluated in float32 on the same windows, ours by harness, the peer's by
transformers. --blocks N: of the model's first blocks only, on both sides. stdout: one JSON object.
"""
import argparse
import json
import os
import sys
import tempfile

from peer import add_paths, ids_of, ours, peer_python, perplexity, theirs

# What makes ours the peer's method: method, and what goes behind --set.
OURS = {
    "gptq": ("preset: gptq", {"gptq.static_groups": "true", "gptq.true_sequential": "false"}),
    "awq": ("steps: [awq_scale, minmax, rtn], input: full_precision", {"awq_scale.duo": "true", "awq_scale.grid": "19", "awq_scale.endpoint": "true", "awq_scale.include_zero": "true"}),
}  # fmt: skip


def peer(a):
    import time

    import torch

    torch.Tensor.pin_memory = lambda self, *args, **kwargs: self  # it pins on machines without a GPU as well
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(a.threads)
    model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32).eval()
    rows = ids_of(a.model, a.calibration, a.samples * a.length).view(a.samples, a.length).tolist()
    data = Dataset.from_dict({"input_ids": rows, "attention_mask": [[1] * a.length] * a.samples})
    weights = {"num_bits": a.bits, "type": "int", "symmetric": False, "strategy": "group", "group_size": a.group_size}
    how = {"config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}, "ignore": ["lm_head"]}
    recipe = {
        "gptq": lambda: [GPTQModifier(**how, block_size=128, dampening_frac=0.01, actorder=None)],
        "awq": lambda: [AWQModifier(duo_scaling=True, n_grid=20), QuantizationModifier(**how)],
    }[a.method]()
    start, processor = time.perf_counter(), time.process_time()
    oneshot(
        model=model,
        dataset=data,
        recipe=recipe,
        max_seq_length=a.length,
        num_calibration_samples=a.samples,
        shuffle_calibration_samples=False,
    )
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    print(json.dumps({"seconds": seconds, "perplexity": perplexity(model, a), "processor_seconds": processor}))


def first_blocks(model, blocks, folder):
    """The model's folder with another config.json: blocks beyond it are not read."""
    for name in os.listdir(model):
        os.symlink(os.path.abspath(os.path.join(model, name)), os.path.join(folder, name))
    path = os.path.join(folder, "config.json")
    config = json.load(open(path))
    os.remove(path)
    json.dump({**config, "num_hidden_layers": blocks}, open(path, "w"))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("method", choices=list(OURS))
    add_paths(p)
    for name, default in [("samples", 32), ("length", 512), ("bits", 3), ("group-size", 64), ("window", 2048), ("windows", 4), ("threads", 2), ("rounds", 1)]:
        p.add_argument("--" + name, type=int, default=default)
    p.add_argument("--blocks", type=int, default=0, help="of the model, from its first; 0: all")
    p.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if a.blocks:
            first_blocks(a.model, a.blocks, folder)
            a.model = folder
        if a.peer:
            return peer(a)
        python = peer_python("llmcompressor")
        rounds = []
        for _ in range(a.rounds):
            method, settings = OURS[a.method]
            one = {"ours": ours(a, method, {**settings, "minmax.include_zero": "true"}), "theirs": theirs(a, python)}
            rounds.append(one)
            print(f"ours {one['ours']}; llm-compressor {one['theirs']}", file=sys.stderr)
    best = {side: min(r[side]["seconds"] for r in rounds) for side in ("ours", "theirs")}
    print(json.dumps({"method": a.method, "rounds": rounds, "ratio_of_minima": best["theirs"] / best["ours"],
                      "perplexity_ratio": rounds[0]["ours"]["perplexity"] / rounds[0]["theirs"]["perplexity"]}, indent=1))  # fmt: skip


main()
