#!/usr/bin/env python3
"""Goldens for GPTQ and RTN: codes of llm-compressor's own quantization function on SmolLM2's weights and real Hessians.

Needs llmcompressor 0.14 (its own venv), the SmolLM2 checkpoint (tools/import_checkpoint.py) and a calibration text:

  tools/gptq_golden.py MODEL_DIR TEXT --small tests/algorithms/golden --full models.d/goldens/gptq

--small: one slice (32 rows, 192 columns) of model.layers.15.self_attn.q_proj, committed. Hessian: the upper triangle, row by row.
--full:  whole layers, a file each, not committed (about 100 MB); tests/algorithms/gptq_test.cpp reads them where they are.
Tensors of a file: weight (float32), hessian (or hessian_upper), <variant>/codes (uint8, code - qmin),
<variant>/scale and <variant>/zero ([O, G] float32, zero counted from 0 for asymmetric variants). Variant: w4-g64-asym-act, w3-channel-sym, ...
llm-compressor fits all grids before rounding: what this project calls static_groups.
RTN goldens are computed here with NumPy from the formula in shared/reference/recipes.md, without code of either project.
"""
import argparse
import os
import time

import numpy as np
import torch
from compressed_tensors.quantization import ActivationOrdering, QuantizationArgs, QuantizationStrategy
from compressed_tensors.quantization.utils import calculate_qparams
from llmcompressor.modifiers.gptq.gptq_quantize import quantize_weight
from llmcompressor.modifiers.gptq.helpers import accumulate_hessian, make_empty_hessian
from safetensors.torch import save_file

FULL_LAYERS = [
    "model.layers.0.self_attn.q_proj",
    "model.layers.0.mlp.down_proj",
    "model.layers.15.self_attn.q_proj",
    "model.layers.15.self_attn.o_proj",
    "model.layers.15.mlp.gate_proj",
    "model.layers.15.mlp.down_proj",
]
SMALL_LAYER = "model.layers.15.self_attn.q_proj"


def real_hessians(model_dir, text_file, names, sequences, length):
    """Hessians as llm-compressor accumulates them, from the full-precision model's activations."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    with open(text_file, encoding="utf-8") as f:
        ids = tokenizer(f.read(), add_special_tokens=False, return_tensors="pt").input_ids[0]
    assert len(ids) >= sequences * length, "calibration text is too short"
    modules = {name: model.get_submodule(name) for name in names}
    hessians = {name: make_empty_hessian(module) for name, module in modules.items()}
    counts = {name: torch.zeros(()) for name in names}

    def hook(name):
        def run(module, args, _output):
            hessians[name], counts[name] = accumulate_hessian(args[0], module, hessians[name], counts[name])

        return run

    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    with torch.no_grad():
        for n in range(sequences):
            model(ids[n * length : (n + 1) * length].unsqueeze(0))
    for handle in handles:
        handle.remove()
    weights = {name: module.weight.detach().clone() for name, module in modules.items()}
    return weights, {name: hessians[name] / counts[name] for name in names}


def peer_gptq(weight, hessian, bits, group, symmetric, act_order, block_size):
    args = QuantizationArgs(
        num_bits=bits,
        symmetric=symmetric,
        strategy=QuantizationStrategy.GROUP if group else QuantizationStrategy.CHANNEL,
        group_size=group,
        actorder=ActivationOrdering.WEIGHT if act_order else None,
    )
    columns = weight.unflatten(-1, (-1, group if group else weight.shape[1]))
    scale, zero = calculate_qparams(columns.amin(-1), columns.amax(-1), args)
    quantized, losses, fallback = quantize_weight(
        weights=weight.clone().unsqueeze(0),
        hessians=hessian.clone().unsqueeze(0),
        scale=scale.unsqueeze(0),
        zero_point=zero.unsqueeze(0),
        global_scale=None,
        quant_args=args,
        blocksize=block_size,
        percdamp=0.01,
    )
    assert not fallback.any()
    low = -(1 << (bits - 1))
    wide = lambda t: t.float().repeat_interleave(group if group else weight.shape[1], dim=1)
    steps = quantized[0] / wide(scale)
    assert (steps - steps.round()).abs().max() < 1e-2
    codes = (steps.round() + wide(zero) - low).to(torch.uint8)
    zero = torch.zeros_like(scale) if symmetric else zero.float() - low
    return {"codes": codes, "scale": scale.float(), "zero": zero, "loss": losses.float()}


def formula_rtn(weight, bits, group, symmetric):
    w = weight.numpy().astype(np.float32)
    rows, columns = w.shape
    g = w.reshape(rows, -1, group if group else columns)
    eps = np.float32(1e-5)
    if symmetric:
        scale = np.maximum(np.abs(g).max(-1), eps) / np.float32(2 ** (bits - 1) - 1)
        zero = np.zeros_like(scale)
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    else:
        scale = np.maximum(g.max(-1) - g.min(-1), eps) / np.float32(2**bits - 1)
        zero = np.clip(-np.rint(g.min(-1) / scale), 0, 2**bits - 1)
        low, high = 0, 2**bits - 1
    codes = np.clip(np.rint(g / scale[..., None]) + zero[..., None], low, high) - low
    return {
        "codes": torch.from_numpy(codes.reshape(rows, columns).astype(np.uint8)),
        "scale": torch.from_numpy(scale),
        "zero": torch.from_numpy(zero.astype(np.float32) + np.float32(0)),
    }


def label(bits, group, symmetric, act_order=False):
    parts = [f"w{bits}", f"g{group}" if group else "channel", "sym" if symmetric else "asym"]
    return "-".join(parts + (["act"] if act_order else []))


def put(tensors, name, result):
    for key, value in result.items():
        tensors[f"{name}/{key}"] = value.contiguous()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model_dir")
    parser.add_argument("text")
    parser.add_argument("--small")
    parser.add_argument("--full")
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--length", type=int, default=512)
    options = parser.parse_args()

    names = FULL_LAYERS if options.full else [SMALL_LAYER]
    weights, hessians = real_hessians(options.model_dir, options.text, names, options.sequences, options.length)
    meta = {"sequences": str(options.sequences), "length": str(options.length), "text": os.path.basename(options.text)}

    if options.small:
        weight = weights[SMALL_LAYER][64:96, :192].contiguous()
        hessian = hessians[SMALL_LAYER][:192, :192].contiguous()
        row, column = torch.triu_indices(192, 192)
        gptq = {"weight": weight, "hessian_upper": hessian[row, column].contiguous()}
        hessian[column, row] = hessian[row, column]
        for bits, group, symmetric, act_order in [
            (4, 64, False, False), (4, 64, False, True), (4, 64, True, False), (4, None, True, True),
            (3, 64, False, False), (3, 32, True, True), (2, 64, False, False), (2, 32, False, True),
            (2, None, False, False), (8, None, True, False),
        ]:
            result = peer_gptq(weight, hessian, bits, group, symmetric, act_order, 64)
            put(gptq, label(bits, group, symmetric, act_order), result)
        save_file(gptq, os.path.join(options.small, "gptq_small.safetensors"), metadata=meta)
        rtn = {"weight": weight}
        for bits, group, symmetric in [
            (4, 64, False), (4, 64, True), (3, 32, False), (2, 64, False), (2, None, True), (8, None, False), (5, 64, True),
        ]:
            put(rtn, label(bits, group, symmetric), formula_rtn(weight, bits, group, symmetric))
        save_file(rtn, os.path.join(options.small, "rtn_small.safetensors"))

    if options.full:
        os.makedirs(options.full, exist_ok=True)
        for name in FULL_LAYERS:
            tensors = {"weight": weights[name], "hessian": hessians[name]}
            start = time.time()
            for bits in (4, 3, 2):
                for group in (64, None):
                    for symmetric in (False, True):
                        for act_order in (False, True):
                            result = peer_gptq(weights[name], hessians[name], bits, group, symmetric, act_order, 128)
                            put(tensors, label(bits, group, symmetric, act_order), result)
            print(f"{name}: 24 variants in {time.time() - start:.1f} s", flush=True)
            save_file(tensors, os.path.join(options.full, name + ".safetensors"), metadata=meta)


if __name__ == "__main__":
    main()
