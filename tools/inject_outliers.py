#!/usr/bin/env python3
"""Copies a checkpoint with outlier channels in it: some channels before each subset of linears become FACTOR times larger, the columns
that read them as much smaller, so that the model computes what it did and is harder to quantize.

  tools/inject_outliers.py --model models.d/smollm2 --out models.d/smollm2-outliers [--factor 64] [--count 4] [--seed 0]
                           [--where norms values products]

norms: norm weights up, columns of q, k, v (gate, up) down. values: rows of v up, columns of o down (with grouped queries, of every head
that reads the value head). products: rows of up up, columns of down down. The same channels in every block. FACTOR is a power of two:
then every weight keeps its bits in any floating-point dtype (below the least normal number aside), and the checkpoint its dtype. Needs
torch and safetensors (a venv of tools/requirements-import.txt). Equal arguments give equal bytes.
"""
import argparse
import glob
import json
import math
import os
import random
import shutil

import torch
from safetensors import safe_open
from safetensors.torch import save_file


def factors(size, a, where):
    """`factor` for some channels, 1 for the others; they depend on the seed, the place and the size alone."""
    chosen = random.Random(f"{a.seed} {where} {size}").sample(range(size), min(a.count, size))
    result = torch.ones(size, dtype=torch.float64)
    result[chosen] = a.factor
    return result


def scaled(tensor, by):
    return (tensor.double() * by).to(tensor.dtype)


def inject(tensors, config, a):
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    for i in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{i}."

        def columns_down(names, by):
            for name in names:
                tensors[prefix + name + ".weight"] = scaled(tensors[prefix + name + ".weight"], 1 / by)

        def rows_up(name, by):
            tensors[prefix + name + ".weight"] = scaled(tensors[prefix + name + ".weight"], by[:, None])
            if prefix + name + ".bias" in tensors:
                tensors[prefix + name + ".bias"] = scaled(tensors[prefix + name + ".bias"], by)

        if "norms" in a.where:
            for norm, names in (
                ("input_layernorm", ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
                ("post_attention_layernorm", ["mlp.gate_proj", "mlp.up_proj"]),
            ):
                by = factors(config["hidden_size"], a, norm)
                tensors[prefix + norm + ".weight"] = scaled(tensors[prefix + norm + ".weight"], by)
                columns_down(names, by)
        if "values" in a.where:
            by = factors(tensors[prefix + "self_attn.v_proj.weight"].shape[0], a, "values")
            rows_up("self_attn.v_proj", by)
            columns_down(["self_attn.o_proj"], by.view(kv_heads, 1, -1).expand(-1, heads // kv_heads, -1).reshape(-1))
        if "products" in a.where:
            by = factors(config["intermediate_size"], a, "products")
            rows_up("mlp.up_proj", by)
            columns_down(["mlp.down_proj"], by)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--factor", type=float, default=64)
    parser.add_argument("--count", type=int, default=4, help="channels before each subset")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--where", nargs="+", default=["norms", "values", "products"], choices=["norms", "values", "products"])
    a = parser.parse_args()
    if a.factor <= 0 or math.frexp(a.factor)[0] != 0.5:
        parser.error("--factor must be a power of two")
    with open(os.path.join(a.model, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    tensors = {}
    for shard in sorted(glob.glob(os.path.join(a.model, "*.safetensors"))):
        with safe_open(shard, "pt") as file:
            for name in file.keys():
                tensors[name] = file.get_tensor(name)
    inject(tensors, config, a)
    os.makedirs(a.out, exist_ok=True)
    for name in sorted(os.listdir(a.model)):
        path = os.path.join(a.model, name)
        if os.path.isfile(path) and not name.endswith((".safetensors", ".safetensors.index.json")):
            shutil.copy(path, a.out)
    save_file({name: value.contiguous() for name, value in tensors.items()}, os.path.join(a.out, "model.safetensors"), {"format": "pt"})
    print(a.out)


if __name__ == "__main__":
    main()
