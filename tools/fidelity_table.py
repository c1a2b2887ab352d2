#!/usr/bin/env python3
"""Perplexities of this program beside independent implementations on the same calibration tokens: the tables of docs/fidelity.md.

  tools/fidelity_table.py --model M --calibration TEXT --text TEXT --group-size 64 --bits 4 3 2 --methods rtn gptq awq hqq \\
      --python llmcompressor=VENV/bin/python --python auto_round=VENV/bin/python --python hqq=VENV/bin/python
  ... --methods gptq --block-size 32      low bits alone differ from --block-size 128, on either side
  ... --methods smoothquant --w8a8        weights by channel, inputs by token, both of --bits bits and symmetric

Peers: rtn by auto-round (its quant_tensor_asym), gptq, awq and smoothquant by llm-compressor 0.14, hqq by hqq 0.2.8. Both sides get the first samples x length tokens of
the calibration text and are evaluated in float32 on the same windows of the text, ours by `harness eval`, the peer's by transformers. --group-size 0: by channel.
Ours runs with the options that docs/fidelity.md gives for each peer (--defaults: with this program's own). stdout: a row of a Markdown table for each
method and number of bits.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))
from peer import add_paths, ids_of, perplexity  # noqa: E402

PEERS = {"full precision": "auto_round", "rtn": "auto_round", "gptq": "llmcompressor", "awq": "llmcompressor", "hqq": "hqq", "smoothquant": "llmcompressor"}  # fmt: skip
# What makes ours the peer's method: method, and what goes behind --set.
OURS = {
    "full precision": ("", {}),
    "rtn": ("preset: rtn", {"minmax.include_zero": "true"}),
    "gptq": ("preset: gptq", {"gptq.static_groups": "true", "gptq.true_sequential": "false", "minmax.include_zero": "true"}),
    "awq": ("steps: [awq_scale, minmax, rtn], input: full_precision", {"awq_scale.duo": "true", "awq_scale.grid": "19", "awq_scale.endpoint": "true", "awq_scale.include_zero": "true", "minmax.include_zero": "true"}),
    "hqq": ("preset: hqq", {}),
    "smoothquant": ("preset: smooth_quant", {"smooth_quant.activations": "half_range", "minmax.symmetric_scale": "full"}),
}  # fmt: skip


def rows_of(a):
    return ids_of(a.model, a.calibration, a.samples * a.length).view(a.samples, a.length)


def by_llm_compressor(a, model):
    import torch

    torch.Tensor.pin_memory = lambda self, *args, **kwargs: self  # it pins on machines without a GPU as well
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    rows = rows_of(a).tolist()
    data = Dataset.from_dict({"input_ids": rows, "attention_mask": [[1] * a.length] * a.samples})
    weights = {"num_bits": a.bits[0], "type": "int", "symmetric": False, "strategy": "group", "group_size": a.group_size}
    if a.group_size == 0:
        weights = {"num_bits": a.bits[0], "type": "int", "symmetric": False, "strategy": "channel"}
    group = {"targets": ["Linear"], "weights": weights}
    if a.w8a8:
        group["weights"] = {"num_bits": a.bits[0], "type": "int", "symmetric": True, "strategy": "channel"}
        group["input_activations"] = {"num_bits": a.bits[0], "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
    how = {"config_groups": {"group_0": group}, "ignore": ["lm_head"]}
    recipe = {
        "gptq": lambda: [GPTQModifier(**how, block_size=a.block_size, dampening_frac=0.01, actorder=None)],
        "awq": lambda: [AWQModifier(duo_scaling=True, n_grid=20), QuantizationModifier(**how)],
        "smoothquant": lambda: [SmoothQuantModifier(smoothing_strength=0.5), QuantizationModifier(**how)],
    }[a.methods[0]]()
    oneshot(model=model, dataset=data, recipe=recipe, max_seq_length=a.length, num_calibration_samples=a.samples, shuffle_calibration_samples=False)
    return model


def linears(model):
    import torch

    return [module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and name != "lm_head"]


def by_auto_round(a, model):
    """Its rounding, linear by linear: the whole tool leaves linears alone whose sides 32 does not divide (stories260K's MLP)."""
    from auto_round.data_type.int import quant_tensor_asym

    for module in linears(model):
        module.weight.data = quant_tensor_asym(module.weight.data, bits=a.bits[0], group_size=a.group_size or -1)[0].detach()
    return model


def by_hqq(a, model):
    import torch
    from hqq.core.quantize import Quantizer

    for module in linears(model):
        w = module.weight.data
        codes, meta = Quantizer.quantize(
            w, nbits=a.bits[0], channel_wise=True, group_size=a.group_size or w.shape[1], optimize=True, round_zero=False, axis=1, bitpack=False,
            device="cpu", compute_dtype=torch.float32,
        )  # fmt: skip
        module.weight.data = Quantizer.dequantize(codes, meta).float().view_as(w)
    return model


def peer(a):
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(a.threads)
    model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32).eval()
    if a.methods[0] != "full precision":
        by = {"llmcompressor": by_llm_compressor, "auto_round": by_auto_round, "hqq": by_hqq}
        model = by[PEERS[a.methods[0]]](a, model)
    print(json.dumps({"perplexity": perplexity(model.float(), a)}))


def run(command, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1] if "--peer" in command else done.stdout)


def theirs(a, method, bits):
    pythons = dict(pair.split("=", 1) for pair in a.python)
    command = [
        os.path.abspath(pythons[PEERS[method]]), os.path.abspath(__file__), "--peer", "--model", os.path.abspath(a.model),
        "--calibration", os.path.abspath(a.calibration), "--text", os.path.abspath(a.text), "--methods", method, "--bits", str(bits),
    ]  # fmt: skip
    for key in ("group_size", "block_size", "samples", "length", "window", "windows", "threads"):
        command += ["--" + key.replace("_", "-"), str(getattr(a, key))]
    environment = dict(os.environ, OMP_NUM_THREADS=str(a.threads), HF_HUB_OFFLINE="1")
    with tempfile.TemporaryDirectory() as folder:  # peers leave files where they run
        return run(command + (["--w8a8"] if a.w8a8 else []), env=environment, cwd=folder)["perplexity"]


def ours(a, method, bits):
    name, settings = OURS[method]
    command = [a.program, "eval", "--model", a.model, "--text", a.text, "--window", str(a.window), "--windows", str(a.windows), "--threads", str(a.threads), "--json"]
    if name:
        command += ["--method", "rtn", "--set", f"methods=[{{{name}}}]", "--calibration", a.calibration, "--samples", str(a.samples), "--length", str(a.length)]
        spec = {"bits": bits, "symmetric": "false"} | ({"group_size": a.group_size} if a.group_size else {"granularity": "channel"})
        if a.w8a8:
            spec = {"bits": bits, "symmetric": "true", "granularity": "channel"}
            command += ["--set", f"quantization.activations={{bits: {bits}}}"]
        for key, value in spec.items():
            command += ["--set", f"quantization.weights.{key}={value}"]
        if method == "gptq":
            command += ["--set", f"methods.gptq.block_size={a.block_size}"]
        for key, value in ({} if a.defaults else settings).items():
            command += ["--set", f"methods.{key}={value}"]
    return run(command)["metrics"]["perplexity"]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_paths(p)
    for name, default in [("samples", 16), ("length", 256), ("group-size", 64), ("block-size", 128), ("window", 256), ("windows", 32), ("threads", 1)]:
        p.add_argument("--" + name, type=int, default=default)
    p.add_argument("--bits", type=int, nargs="+", default=[4, 3, 2])
    p.add_argument("--methods", nargs="+", choices=list(OURS), default=["rtn", "gptq", "awq", "hqq"])
    p.add_argument("--python", action="append", default=[], metavar="PACKAGE=PATH")
    p.add_argument("--w8a8", action="store_true")
    p.add_argument("--defaults", action="store_true")
    p.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.peer:
        return peer(a)
    for method in a.methods:
        for bits in [0] if method == "full precision" else a.bits:
            mine, other = ours(a, method, bits), theirs(a, method, max(bits, 2))
            print(f"| {method} | {bits or '-'} | {PEERS[method]} | {other:.4f} | {mine:.4f} | {100 * (mine / other - 1):+.2f} % |", flush=True)


main()
