#!/usr/bin/env python3
"""Golden for LQER and L2QER: a plain torch rendering of the paper's equations (arXiv:2402.02446, 7 to 14) with torch.linalg.svd in float64.

  tools/lqer_golden.py tests/algorithms/golden

Needs torch and safetensors. No code of the authors or of this project. Tensors of lqer.safetensors, for the matrices "tall" (40 outputs x
24 inputs) and "wide" (24 x 40): <m>/weight_OI, <m>/rounded_OI (3 bits, symmetric, groups of 8, in float32), <m>/x_NTI (4 calibration sequences of 12
tokens, channels of very different sizes), <m>/magnitude_I (equation 13), <m>/scale_I (equation 14), and for <f> = lqer, l2qer:
<m>/<f>/singular_R, <m>/<f>/product_IO (A B of rank 6), <m>/<f>/mxint_IO and <m>/<f>/int_IO: A B with both factors rounded to 8 bits, MXINT in
blocks of 16 with 4-bit exponents, or symmetric integers in groups of 128, along inputs (A) and ranks (B).
"""
import argparse
import os

import torch
from safetensors.torch import save_file

RANK = 6


def rtn(weight, bits=3, group=8):
    g = weight.view(weight.shape[0], -1, group)
    scale = g.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
    return ((g / scale).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * scale).view_as(weight)


def by_groups(rows, group, rounded):
    """rows [R, C] with each `group` of columns rounded on its own; the last one may be shorter."""
    return torch.cat([rounded(part) for part in rows.split(group, dim=1)], dim=1)


def mxint(part, bits=8, exponent_bits=4):
    """value q 2^(E - bits + 1), |q| < 2^(bits - 1), E = floor(log2 max) + 1 within the exponent's range"""
    greatest = part.abs().amax(1, keepdim=True)
    exponent = torch.floor(torch.log2(greatest.clamp(min=1e-30))) + 1
    exponent = exponent.clamp(1 - 2 ** (exponent_bits - 1), 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - (bits - 1))
    most = 2 ** (bits - 1) - 1
    return (part / step).round().clamp(-most, most) * step


def integers(part, bits=8):
    most = 2 ** (bits - 1) - 1
    scale = part.abs().amax(1, keepdim=True).clamp(min=1e-30) / most
    return (part / scale).round().clamp(-most - 1, most) * scale


def factors(error_IO, scale_I):
    u, sigma, v_t = torch.linalg.svd(scale_I[:, None] * error_IO, full_matrices=False)
    return (u[:, :RANK] / scale_I[:, None]).float(), (sigma[:RANK, None] * v_t[:RANK]).float(), sigma


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    folder = parser.parse_args().folder
    generator = torch.Generator().manual_seed(6)
    tensors = {}
    for name, (outputs, inputs) in {"tall": (40, 24), "wide": (24, 40)}.items():
        weight = torch.randn(outputs, inputs, generator=generator)
        rounded = rtn(weight)
        x = torch.randn(4, 12, inputs, generator=generator) * torch.randn(inputs, generator=generator).mul(1.5).exp()
        magnitude = x.double().abs().mean(1).amax(0)
        scale = magnitude / (magnitude.min() * magnitude.max()).sqrt()
        error_IO = (weight - rounded).double().t()
        tensors |= {f"{name}/weight_OI": weight, f"{name}/rounded_OI": rounded, f"{name}/x_NTI": x,
                    f"{name}/magnitude_I": magnitude, f"{name}/scale_I": scale}  # fmt: skip
        for form, s in {"lqer": torch.ones_like(scale), "l2qer": scale}.items():
            a, b, sigma = factors(error_IO, s)
            tensors[f"{name}/{form}/singular_R"] = sigma
            tensors[f"{name}/{form}/product_IO"] = a @ b
            for number, rounding, group in [("mxint", mxint, 16), ("int", integers, 128)]:
                a_q = by_groups(a.t(), group, rounding).t()
                b_q = by_groups(b.t(), group, rounding).t()
                tensors[f"{name}/{form}/{number}_IO"] = (a_q @ b_q).float()
    save_file({key: value.contiguous() for key, value in tensors.items()}, os.path.join(folder, "lqer.safetensors"))


main()
