#!/usr/bin/env python3
"""What AWQ's searches must find: goldens of tests/algorithms/awq_test.cpp and the figures of docs/fidelity_awq.md.

  awq_golden.py tiny OUT_DIR                        random LLaMA blocks -> awq_mha.safetensors, awq_gqa.safetensors
  awq_golden.py real MODEL_DIR TEXT OUT.safetensors first layers of a checkpoint on windows of a text: token ids, losses

Two sources, told apart by the prefix of a tensor's name:
  llmc.*  llm-compressor's AWQModifier itself (duo_scaling, n_grid 20), its loss of every candidate recorded
  ref.*   a plain torch rendering of the formulas in algorithms/awq_scale.h and awq_clip.h: the linears' inputs kept as they
          are, no Gram matrices, each candidate a forward pass of the module
Runs in a venv with llmcompressor 0.14.0.1 and torch 2.13.0 (CPU). Same input, same bytes for one thread.
"""
import argparse
import json
import os
import tempfile

import torch

torch.Tensor.pin_memory = lambda self, *args, **kwargs: self  # llm-compressor pins on machines without a GPU as well

from compressed_tensors.quantization import QuantizationArgs  # noqa: E402, F401  (fails here when the venv is another)
from datasets import Dataset  # noqa: E402
from llmcompressor import oneshot  # noqa: E402
from llmcompressor.modifiers.quantization import QuantizationModifier  # noqa: E402
from llmcompressor.modifiers.transform.awq import AWQModifier  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from tokenizers import Tokenizer, models  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM  # noqa: E402
from transformers import PreTrainedTokenizerFast  # noqa: E402

torch.set_num_threads(1)
SUBSETS = {
    "qkv": ("self_attn", ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    "o": ("self_attn.o_proj", ["self_attn.o_proj"]),
    "gate_up": ("mlp", ["mlp.gate_proj", "mlp.up_proj"]),
    "down": ("mlp.down_proj", ["mlp.down_proj"]),
}


class Recorder(AWQModifier):
    """AWQModifier that keeps the loss of each candidate and the scale that it chose."""

    def _compute_best_scale(self, mapping, fp16_outputs, orig_layer_weights):
        record = {"losses": []}
        RECORDS.append(record)
        record["scale"] = super()._compute_best_scale(mapping, fp16_outputs, orig_layer_weights)
        first = mapping.balance_names[0]
        record["layer"] = int(first.split("layers.")[1].split(".")[0])
        record["subset"] = next(s for s, (_, names) in SUBSETS.items() if any(first.endswith(n) for n in names))
        return record["scale"]

    def _compute_loss(self, fp16_outputs, int_w_outputs):
        loss = super()._compute_loss(fp16_outputs, int_w_outputs)
        RECORDS[-1]["losses"].append(loss)
        return loss


RECORDS = []


def run_llm_compressor(model_dir, layers, ids, weights, duo):
    """The searches of the first layers: a list of {layer, subset, losses, scale}."""
    RECORDS.clear()
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32, num_hidden_layers=layers)
    model.lm_head = torch.nn.Linear(model.config.hidden_size, 1, bias=False)  # unused by the searches, and the costliest layer
    data = Dataset.from_dict({"input_ids": ids.tolist(), "attention_mask": torch.ones_like(ids).tolist()})
    groups = {"all": {"targets": ["Linear"], "weights": {"type": "int", "strategy": "group", **weights}}}
    oneshot(
        model=model,
        processor=AutoTokenizer.from_pretrained(model_dir),
        dataset=data,
        recipe=[Recorder(duo_scaling=duo), QuantizationModifier(config_groups=groups, ignore=["lm_head"])],
        num_calibration_samples=len(ids),
        max_seq_length=ids.shape[1],
    )
    return list(RECORDS)


def minmax_round(w, spec):
    """Q of the headers on [O, groups, columns]: compressed-tensors' ends (0 inside, symmetric over all codes) or the papers'."""
    levels = 2 ** spec["num_bits"] - 1
    low, high = w.amin(-1, keepdim=True), w.amax(-1, keepdim=True)
    if spec["symmetric"]:
        steps = levels / 2 if spec["peer_ends"] else levels // 2
        scale = torch.maximum(low.abs(), high.abs()).clamp_min(1e-5) / steps
        return (w / scale).round().clamp(-(levels // 2) - 1, levels // 2) * scale
    if spec["peer_ends"]:
        low, high = low.clamp_max(0), high.clamp_min(0)
    scale = (high - low).clamp_min(1e-5) / levels
    zero = (-(low / scale).round()).clamp(0, levels)
    return (((w / scale).round() + zero).clamp(0, levels) - zero) * scale


def by_group(w, spec):
    return w.unflatten(-1, (-1, spec["group_size"]))


def capture(layer, modules, run):
    """Inputs of the named modules, one call a sequence: {name: [args...]}."""
    seen, hooks = {name: [] for name in modules}, []
    for name in modules:
        hooks.append(
            layer.get_submodule(name).register_forward_pre_hook(
                lambda module, args, kwargs, name=name: seen[name].append((args, kwargs)), with_kwargs=True
            )
        )
    run()
    for hook in hooks:
        hook.remove()
    return seen


def first(output):
    return output[0] if isinstance(output, tuple) else output


def reference_scale(layer, subset, calls, x, spec, ratios, group_heads=None):
    """Losses of s = x^r over all sequences, by running the module with Q(W s) / s. x: [tokens, I]."""
    inspect_name, names = SUBSETS[subset]
    module, linears = layer.get_submodule(inspect_name), [layer.get_submodule(n) for n in names]
    x_mean = x.abs().mean(0)
    if group_heads:  # one scale for the columns of o that read the same channel of v
        kv_heads, share, head_dim = group_heads
        x_mean = x_mean.view(kv_heads, share, head_dim).mean(1)
    exact = [first(module(*args, **kwargs)) for args, kwargs in calls]
    original = [linear.weight.data.clone() for linear in linears]
    losses = []
    for ratio in ratios:
        scale = x_mean.pow(ratio).clamp_min(1e-4)
        scale = scale / (scale.max() * scale.min()).sqrt()
        if group_heads:
            scale = scale.unsqueeze(1).expand(kv_heads, share, head_dim).reshape(-1)
        for linear, w in zip(linears, original):
            linear.weight.data = minmax_round(by_group(w * scale, spec), spec).flatten(-2) / scale
        total = sum(((first(module(*a, **k)) - y) ** 2).double().sum().item() for (a, k), y in zip(calls, exact))
        losses.append(total / sum(y.numel() for y in exact))
    for linear, w in zip(linears, original):
        linear.weight.data = w
    return torch.tensor(losses, dtype=torch.float64)


def reference_clip(w, x, spec, symmetric, grid=20, max_shrink=0.5):
    """p and error of each row and group by the formula, token by token. x: [tokens, I]."""
    w_og, x_tg = by_group(w, spec), by_group(x, spec)
    low, high = w_og.amin(-1, keepdim=True), w_og.amax(-1, keepdim=True)
    if symmetric:
        high = torch.maximum(low.abs(), high.abs())
        low = -high
    exact = torch.einsum("tgc,ogc->tog", x_tg, w_og)
    best_p = best = None
    for i in range(int(max_shrink * grid)):
        p = 1 - i / grid
        rounded = minmax_round(torch.clamp(w_og, low * p, high * p), spec)
        error = ((torch.einsum("tgc,ogc->tog", x_tg, rounded) - exact) ** 2).mean(0)
        if best is None:
            best, best_p = error, torch.ones_like(error)
        best_p = torch.where(error < best, p, best_p)
        best = torch.minimum(error, best)
    return best_p, best


def write(path, tensors, about):
    save_file({k: v.contiguous() for k, v in sorted(tensors.items())}, path, {"about": json.dumps(about)})
    print(path, os.path.getsize(path), "bytes")


def tiny(out_dir):
    cases = {  # name -> (kv heads, bias, spec)
        "awq_mha": (4, False, {"num_bits": 3, "symmetric": False, "group_size": 16}),
        "awq_gqa": (2, True, {"num_bits": 4, "symmetric": False, "group_size": 16}),
    }
    for name, (kv_heads, bias, weights) in cases.items():
        torch.manual_seed(1)
        config = LlamaConfig(
            vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
            num_key_value_heads=kv_heads, head_dim=8, attention_bias=bias, mlp_bias=bias, tie_word_embeddings=False,
            max_position_embeddings=64,
        )  # fmt: skip
        model = LlamaForCausalLM(config).float()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0, 0.15)
            model.model.embed_tokens.weight.normal_(0, 1)
            layer = model.model.layers[0]
            for norm in (layer.input_layernorm, layer.post_attention_layernorm):  # a few channels stand out
                norm.weight.copy_(torch.randn(32).mul(1.2).exp())
            layer.mlp.up_proj.weight.mul_(torch.randn(48, 1).exp())
            layer.self_attn.v_proj.weight.mul_(torch.randn(8 * kv_heads, 1).exp())
        ids = torch.randint(0, 64, (3, 24))
        tensors = {"h_NTD": model.model.embed_tokens(ids).detach()}
        for key, value in layer.state_dict().items():
            tensors["model.layers.0." + key] = value
        spec = {**weights, "peer_ends": True}
        modules = sorted({inspect for inspect, _ in SUBSETS.values()} | {n for _, names in SUBSETS.values() for n in names})
        with torch.no_grad():
            seen = capture(layer, modules, lambda: [model(row.unsqueeze(0), use_cache=False) for row in ids])
            inputs = {m: torch.cat([(a[0] if a else k["hidden_states"]).flatten(0, -2) for a, k in seen[m]]) for m in modules}
            for subset, (inspect, names) in SUBSETS.items():
                heads = (kv_heads, 4 // kv_heads, 8) if subset == "o" and kv_heads != 4 else None
                ratios = [n / 20 for n in range(20)]
                calls, x = seen[inspect], inputs[names[0]]
                tensors[f"ref.{subset}.losses"] = reference_scale(layer, subset, calls, x, spec, ratios, heads)
            for linear in ["self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]:
                w = layer.get_submodule(linear).weight
                for ends in ("sym", "asym"):
                    p, error = reference_clip(w, inputs[linear], spec, ends == "sym")
                    tensors[f"ref.clip_{ends}.{linear}.ratio"], tensors[f"ref.clip_{ends}.{linear}.loss"] = p, error
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            vocabulary = Tokenizer(models.WordLevel({str(i): i for i in range(64)}, unk_token="0"))
            PreTrainedTokenizerFast(tokenizer_object=vocabulary, pad_token="0").save_pretrained(folder)
            for duo in (True, False):
                for record in run_llm_compressor(folder, 1, ids, weights, duo):
                    key = f"llmc.{'duo' if duo else 'plain'}.{record['subset']}"
                    tensors[key + ".losses"] = torch.tensor(record["losses"], dtype=torch.float64)
                    tensors[key + ".scale"] = record["scale"].float().flatten()
        write(os.path.join(out_dir, name + ".safetensors"), tensors, {"spec": weights, "heads": 4, "kv_heads": kv_heads})


def real(model_dir, text, out, layers, samples, length):
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    with open(text, encoding="utf-8") as file:
        stream = tokenizer(file.read()[: samples * length * 8], add_special_tokens=False)["input_ids"]
    ids = torch.tensor(stream[: samples * length]).view(samples, length)
    tensors = {"ids_NT": ids.int()}
    for bits in (4, 3):
        weights = {"num_bits": bits, "symmetric": False, "group_size": 64}
        for record in run_llm_compressor(model_dir, layers, ids, weights, duo=True):
            key = f"llmc.w{bits}.duo.{record['layer']}.{record['subset']}"
            tensors[key] = torch.tensor(record["losses"], dtype=torch.float64)
            best = min(range(20), key=record["losses"].__getitem__)
            print(key, "best", best, "loss", record["losses"][best], "first", record["losses"][0], flush=True)
    write(out, tensors, {"layers": layers, "group_size": 64})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("tiny")
    command.add_argument("out_dir")
    command = commands.add_parser("real")
    command.add_argument("model_dir")
    command.add_argument("text")
    command.add_argument("out")
    command.add_argument("--layers", type=int, default=2)
    command.add_argument("--samples", type=int, default=8)
    command.add_argument("--length", type=int, default=256)
    given = vars(parser.parse_args())
    {"tiny": tiny, "real": real}[given.pop("command")](**given)


if __name__ == "__main__":
    main()
