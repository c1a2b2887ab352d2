#!/usr/bin/env python3
"""Golden for HQQ: scales and zero points of the `hqq` package (0.2.8.post1) on a slice of SmolLM2's weights.

Needs torch, safetensors and hqq (pip install hqq; its dependencies einops, termcolor and numpy are enough):

  tools/hqq_golden.py tests/algorithms/golden/gptq_small.safetensors tests/algorithms/golden/hqq_small.safetensors

The weights are those of the first file (32 rows, 192 columns of model.layers.15.self_attn.q_proj). Of each variant w<bits>-g<group>:
  scale, zero     the package's result with its defaults (one search for all groups, ended when the mean error rises), [rows, groups]
  steps2, steps5  zero points after 2 and 5 updates without an early end (optimize_weights_proximal_v2), from the min-max zero point
"""
import argparse

import torch
from hqq.core.optimize import optimize_weights_proximal_v2
from hqq.core.quantize import Quantizer
from safetensors.torch import load_file, save_file


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("output")
    args = parser.parse_args()
    weight = load_file(args.weights)["weight"]
    rows, columns = weight.shape
    tensors = {}
    for bits in (2, 3, 4, 8):
        for group in (64, columns):
            name = f"w{bits}-g{group}"
            _, meta = Quantizer.quantize(weight, nbits=bits, group_size=group, axis=1, device="cpu", bitpack=False)
            tensors[f"{name}/scale"] = meta["scale"].reshape(rows, -1).contiguous()
            tensors[f"{name}/zero"] = meta["zero"].reshape(rows, -1).contiguous()
            groups = weight.reshape(-1, group)
            low, high = groups.amin(1, keepdim=True), groups.amax(1, keepdim=True)
            inverse = (2**bits - 1) / (high - low)
            for steps in (2, 5):
                _, _, zero = optimize_weights_proximal_v2(
                    groups, inverse, -low * inverse, [0, 2**bits - 1], axis=1,
                    opt_params={"lp_norm": 0.7, "beta": 10.0, "kappa": 1.01, "iters": steps, "tol": 0.0, "early_stop": False,
                                "scale_gridsearch": False})
                tensors[f"{name}/steps{steps}"] = zero.reshape(rows, -1).contiguous()
    save_file(tensors, args.output)


if __name__ == "__main__":
    main()
