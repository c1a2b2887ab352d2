#!/usr/bin/env python3
"""What SmoothQuant and Outlier Suppression+ must find: goldens of tests/algorithms/smooth_quant_test.cpp and os_plus_test.cpp.

  smooth_golden.py OUT_DIR      a random LLaMA block with biases and outlier channels -> smooth.safetensors

Two sources, told apart by the prefix of a tensor's name:
  llmc.*  llm-compressor's SmoothQuantModifier itself (smoothing_strength 0.5), its scales recorded
  ref.*   a plain torch rendering of the formulas in algorithms/os_plus.h: Hugging Face's own attention and MLP run once a threshold
Runs in a venv with llmcompressor 0.14.0.1 and torch 2.13.0 (CPU). Same input, same bytes for one thread.
"""
import json
import os
import sys
import tempfile

import torch

torch.Tensor.pin_memory = lambda self, *args, **kwargs: self  # llm-compressor pins on machines without a GPU as well

from datasets import Dataset  # noqa: E402
from llmcompressor import oneshot  # noqa: E402
from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from tokenizers import Tokenizer, models  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: E402

torch.set_num_threads(1)
SUBSETS = {
    "qkv": ("self_attn", ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    "gate_up": ("mlp", ["mlp.gate_proj", "mlp.up_proj"]),
}
SCALES = []


class Recorder(SmoothQuantModifier):
    def _calculate_smoothing_scales(self, balance_layers, activation_scales):
        scales = super()._calculate_smoothing_scales(balance_layers, activation_scales)
        SCALES.append(scales.clone())
        return scales


def smooth(folder, ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    data = Dataset.from_dict({"input_ids": ids.tolist(), "attention_mask": torch.ones_like(ids).tolist()})
    oneshot(
        model=model,
        processor=AutoTokenizer.from_pretrained(folder),
        dataset=data,
        recipe=[Recorder(smoothing_strength=0.5)],
        num_calibration_samples=len(ids),
        max_seq_length=ids.shape[1],
    )
    return dict(zip(SUBSETS, SCALES, strict=True))


def weight_round(w):
    """4 bits, asymmetric, one grid a row."""
    low, high = w.amin(-1, keepdim=True), w.amax(-1, keepdim=True)
    scale = (high - low).clamp_min(1e-5) / 15
    zero = (-(low / scale).round()).clamp(0, 15)
    return (((w / scale).round() + zero).clamp(0, 15) - zero) * scale


def token_round(x):
    """6 bits, symmetric, one grid a token."""
    scale = x.abs().amax(-1, keepdim=True).clamp_min(1e-5) / 31
    return (x / scale).round().clamp(-32, 31) * scale


def os_plus(layer, subset, calls, shift, grid, lowest):
    """Thresholds and losses. calls: (args, kwargs) of the module, one a sequence."""
    module_name, names = SUBSETS[subset]
    module, linears = layer.get_submodule(module_name), [layer.get_submodule(n) for n in names]
    inputs = [args[0] if args else kwargs["hidden_states"] for args, kwargs in calls]

    def run(i, x):
        args, kwargs = calls[i]
        if args:
            out = module(x, *args[1:], **kwargs)
        else:
            out = module(**{**kwargs, "hidden_states": x})
        return out[0] if isinstance(out, tuple) else out

    exact = [run(i, x) for i, x in enumerate(inputs)]
    x = torch.cat([x.flatten(0, -2) for x in inputs])
    low, high = x.amin(0), x.amax(0)
    z = (low + high) / 2 if shift else torch.zeros_like(low)
    size = (high - low) / 2 if shift else torch.maximum(low.abs(), high.abs())
    greatest = size.max().item()
    thresholds = [greatest - i * (greatest - lowest) / grid for i in range(grid)]
    originals = [(linear.weight.data.clone(), linear.bias.data.clone()) for linear in linears]
    losses = []
    for t in thresholds:
        s = (size / t).clamp_min(1)
        for linear, (w, b) in zip(linears, originals):
            linear.weight.data, linear.bias.data = weight_round(w * s), b + w @ z
        total = sum(((run(i, token_round((x - z) / s)) - y) ** 2).double().sum().item() for i, (x, y) in enumerate(zip(inputs, exact)))
        losses.append(total / sum(y.numel() for y in exact))
    for linear, (w, b) in zip(linears, originals):
        linear.weight.data, linear.bias.data = w, b
    return torch.tensor(thresholds, dtype=torch.float64), torch.tensor(losses, dtype=torch.float64)


def main():
    torch.manual_seed(2)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, attention_bias=True, mlp_bias=True, tie_word_embeddings=False, max_position_embeddings=64,
    )  # fmt: skip
    model = LlamaForCausalLM(config).float()
    tensors = {}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.15)
        # Channels with a mean of their own, for the shift to find, and some that stand out.
        model.model.embed_tokens.weight.normal_(0, 1).add_(torch.randn(32))
        layer = model.model.layers[0]
        for norm in (layer.input_layernorm, layer.post_attention_layernorm):
            norm.weight.copy_(torch.randn(32).exp())
        ids = torch.randint(0, 64, (3, 24))
        tensors["h_NTD"] = model.model.embed_tokens(ids).detach()
        for key, value in layer.state_dict().items():
            tensors["model.layers.0." + key] = value.clone()
        seen = {module: [] for module, _ in SUBSETS.values()}
        for module in seen:
            layer.get_submodule(module).register_forward_pre_hook(
                lambda m, args, kwargs, module=module: seen[module].append((args, kwargs)), with_kwargs=True
            )
        for row in ids:
            model(row.unsqueeze(0), use_cache=False)
        for subset, (module, _) in SUBSETS.items():
            calls = list(seen[module])
            for shift in (True, False):
                key = f"ref.{subset}.{'shift' if shift else 'scale'}"
                tensors[key + ".thresholds"], tensors[key + ".losses"] = os_plus(layer, subset, calls, shift, 20, 1.0)
                print(key, tensors[key + ".losses"].argmin().item(), tensors[key + ".losses"][[0, -1]].tolist())
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            vocabulary = Tokenizer(models.WordLevel({str(i): i for i in range(64)}, unk_token="0"))
            PreTrainedTokenizerFast(tokenizer_object=vocabulary, pad_token="0").save_pretrained(folder)
            for subset, scale in smooth(folder, ids).items():
                tensors[f"llmc.{subset}.scale"] = scale.float().flatten()
    path = os.path.join(sys.argv[1], "smooth.safetensors")
    save_file({k: v.contiguous() for k, v in sorted(tensors.items())}, path, {"about": json.dumps({"heads": 4, "kv_heads": 2})})
    print(path, os.path.getsize(path), "bytes")


if __name__ == "__main__":
    main()
