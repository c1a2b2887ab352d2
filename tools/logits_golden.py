#!/usr/bin/env python3
"""Makes the logits goldens of tests/models/logits_test.cpp with `transformers` in float32.

  logits_golden.py random                     tiny random checkpoints, one a variant, and their goldens
  logits_golden.py real NAME DIR [--tokens N] a golden for the checkpoint in DIR: ids, and logits at some positions and columns

Run with a Python that has torch and transformers (made with 2.13.0 and 5.23.0). Output: tests/models/golden/logits/. A golden holds the
ids, the positions and columns that were kept, their logits under SDPA attention, and `gap`: the largest difference between transformers'
own eager and SDPA attention over all logits. The random checkpoints are stored in bfloat16; everything is computed in float32.
"""
import argparse, json, os, shutil

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/models/golden/logits")

SMALL = dict(vocab_size=128, hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64,
             bos_token_id=1, eos_token_id=2, pad_token_id=None, attn_implementation="sdpa")

def rope(**parameters): return {"rope_theta": 10000.0, **parameters}

# name: (configuration, tokens)
VARIANTS = {
    "llama_mha": (LlamaConfig(**SMALL, num_key_value_heads=4, tie_word_embeddings=False), 40),
    # head_dim is not hidden / heads, and not a multiple of 16
    "llama_gqa_tied": (LlamaConfig(**SMALL, num_key_value_heads=2, head_dim=12, tie_word_embeddings=True, rms_norm_eps=1e-6), 40),
    "llama_bias": (LlamaConfig(**SMALL, num_key_value_heads=1, attention_bias=True, mlp_bias=True, tie_word_embeddings=True), 40),
    "rope_linear": (LlamaConfig(**SMALL, num_key_value_heads=2, tie_word_embeddings=True,
                                rope_parameters=rope(rope_type="linear", factor=3.0)), 40),
    "rope_dynamic": (LlamaConfig(**{**SMALL, "max_position_embeddings": 32}, num_key_value_heads=2, tie_word_embeddings=True,
                                 rope_parameters=rope(rope_type="dynamic", factor=2.0)), 77),
    "rope_llama3": (LlamaConfig(**SMALL, num_key_value_heads=2, tie_word_embeddings=True, head_dim=16,
                                rope_parameters=dict(rope_theta=500000.0, rope_type="llama3", factor=8.0, low_freq_factor=1.0,
                                                     high_freq_factor=4.0, original_max_position_embeddings=24)), 60),
    "mistral_window": (MistralConfig(**SMALL, num_key_value_heads=2, sliding_window=9, tie_word_embeddings=False), 50),
    "qwen2": (Qwen2Config(**SMALL, num_key_value_heads=2, tie_word_embeddings=True), 40),
}

def randomize(model, generator):
    """Weights that keep activations near 1 and give logits of several units; norms and biases that are not trivial."""
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if name.endswith("bias"): value = 0.5 * noise
        elif p.dim() == 1: value = 1 + 0.2 * noise
        elif "embed_tokens" in name: value = 0.6 * noise
        else: value = 1.5 * noise / p.shape[1] ** 0.5
        p.data.copy_(value.bfloat16())

@torch.inference_mode()
def logits(directory, ids, attention):
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation=attention).eval()
    return model(ids[None]).logits[0]

def write_golden(path, directory, ids, positions, columns):
    sdpa, eager = logits(directory, ids, "sdpa"), logits(directory, ids, "eager")
    kept = sdpa[positions][:, columns]
    gap = (sdpa - eager).abs().max().item()
    golden = {"made_by": "tools/logits_golden.py", "torch": torch.__version__, "ids": ids.tolist(), "positions": positions, "columns": columns,
              "gap": gap, "logits": [[float(f"{x:.9g}") for x in row] for row in kept.tolist()]}
    with open(path, "w") as out: out.write(json.dumps(golden, separators=(",", ":")) + "\n")
    print(f"{os.path.basename(path)}: {len(ids)} tokens, largest logit {sdpa.abs().max():.2f}, eager-SDPA gap {gap:.1e}")

def make_random():
    for seed, (name, (config, tokens)) in enumerate(VARIANTS.items()):
        generator = torch.Generator().manual_seed(seed)
        directory = os.path.join(FOLDER, name)
        shutil.rmtree(directory, ignore_errors=True)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        randomize(model, generator)
        model.save_pretrained(directory)
        for extra in ("generation_config.json",):
            if os.path.exists(f"{directory}/{extra}"): os.remove(f"{directory}/{extra}")
        ids = torch.randint(0, config.vocab_size, (tokens,), generator=generator)
        positions = sorted({0, 1, *range(2, tokens, 5), tokens - 2, tokens - 1})
        write_golden(f"{directory}/golden.json", directory, ids, positions, list(range(0, config.vocab_size, 5)))

def make_real(a):
    os.makedirs(FOLDER, exist_ok=True)
    vocabulary = json.load(open(a.dir + "/config.json"))["vocab_size"]
    ids = torch.randint(3, vocabulary, (a.tokens,), generator=torch.Generator().manual_seed(0))
    positions = sorted({0, 1, *range(2, a.tokens, max(1, a.tokens // 24)), a.tokens - 1})
    write_golden(f"{FOLDER}/{a.name}.json", a.dir, ids, positions, list(range(0, vocabulary, max(1, vocabulary // 48))))

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter); s = p.add_subparsers(required=True)
c = s.add_parser("random"); c.set_defaults(f=lambda a: make_random())
c = s.add_parser("real"); c.set_defaults(f=make_real); c.add_argument("name"); c.add_argument("dir"); c.add_argument("--tokens", type=int, default=256)
a = p.parse_args(); a.f(a)
