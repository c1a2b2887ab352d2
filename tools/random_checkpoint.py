#!/usr/bin/env python3
"""Makes a LLaMA checkpoint of any size with random weights, as the Hugging Face hub lays checkpoints out: config.json, model.safetensors
(or shards and their index when it is larger than one shard), and the tokenizer of another checkpoint.

  tools/random_checkpoint.py --out models.d/random-1.5b --tokenizer models.d/smollm2 --hidden 2048 --layers 28 --heads 32 --kv-heads 8 --intermediate 6400

For measurements that need a model's size and not its sense (bench/memory.py). The vocabulary is the tokenizer's, the head is the
embedding. A weight is bfloat16 within +-1/32, symmetric, peaked at zero, standard deviation 0.0135; norms are 1. A tensor's bytes depend
on --seed and its name alone. Written in pieces of 1 MiB: the size of the model does not matter for memory. Standard library only;
about 100 MB a second.
"""
import argparse
import json
import os
import random
import shutil
import sys

PIECE = 1 << 19  # weights
TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "generation_config.json"]


def high_bytes():
    """What stands for a random byte as the high byte of a bfloat16 weight: sign and upper 7 bits of the exponent. The pair of octaves
    [2^-7, 2^-5) gets half of the weights, each pair below half of what is left; the low byte, uniform, is the rest."""
    table = bytearray()
    for sign in (0x00, 0x80):
        pair, count = 60, 64  # exponent fields 120, 121
        while count:
            table += bytes([sign | pair]) * count
            pair, count = pair - 1, count // 2
        table += bytes([sign | pair])
    return bytes(table)


def write_random(file, count, rng, table):
    while count:
        n = min(count, PIECE)
        piece = bytearray(2 * n)
        piece[0::2] = rng.randbytes(n)
        piece[1::2] = rng.randbytes(n).translate(table)
        file.write(piece)
        count -= n


def shapes(a, vocabulary):
    """(name, shape) in the order of the file."""
    head = a.hidden // a.heads
    yield "model.embed_tokens.weight", [vocabulary, a.hidden]
    for i in range(a.layers):
        p = f"model.layers.{i}."
        yield p + "input_layernorm.weight", [a.hidden]
        yield p + "post_attention_layernorm.weight", [a.hidden]
        yield p + "self_attn.q_proj.weight", [a.hidden, a.hidden]
        yield p + "self_attn.k_proj.weight", [head * a.kv_heads, a.hidden]
        yield p + "self_attn.v_proj.weight", [head * a.kv_heads, a.hidden]
        yield p + "self_attn.o_proj.weight", [a.hidden, a.hidden]
        yield p + "mlp.gate_proj.weight", [a.intermediate, a.hidden]
        yield p + "mlp.up_proj.weight", [a.intermediate, a.hidden]
        yield p + "mlp.down_proj.weight", [a.hidden, a.intermediate]
    yield "model.norm.weight", [a.hidden]


def size_of(shape):
    count = 1
    for n in shape:
        count *= n
    return 2 * count


def write_shard(path, tensors, seed, table):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors:
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size_of(shape)]}
        offset += size_of(shape)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in tensors:
            if len(shape) == 1:
                file.write(b"\x80\x3f" * shape[0])  # 1.0
            else:
                write_random(file, size_of(shape) // 2, random.Random(f"{seed} {name}"), table)


def vocabulary_of(tokenizer):
    """As many rows as there are ids, or as the tokenizer's own model has."""
    with open(os.path.join(tokenizer, "tokenizer.json"), encoding="utf-8") as file:
        content = json.load(file)
    words = content["model"]["vocab"]
    ids = list(words.values()) if isinstance(words, dict) else range(len(words))
    last = max([*ids, *(token["id"] for token in content.get("added_tokens", []))])
    config = {}
    if os.path.exists(os.path.join(tokenizer, "config.json")):
        with open(os.path.join(tokenizer, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
    tokens = {key: config[key] for key in ("bos_token_id", "eos_token_id") if key in config}
    return max(last + 1, config.get("vocab_size", 0)), tokens


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", required=True, metavar="DIR", help="must not exist")
    p.add_argument("--tokenizer", required=True, metavar="DIR", help="a checkpoint, or any folder with tokenizer.json")
    p.add_argument("--hidden", type=int, default=2048)
    p.add_argument("--layers", type=int, default=28)
    p.add_argument("--heads", type=int, default=32)
    p.add_argument("--kv-heads", type=int, default=8)
    p.add_argument("--intermediate", type=int, default=6400)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--shard-mb", type=int, default=1000, help="a shard's largest size (default: %(default)s)")
    a = p.parse_args()
    if min(a.hidden, a.layers, a.heads, a.kv_heads, a.intermediate, a.shard_mb) < 1:
        p.error("sizes must be positive")
    if a.hidden % a.heads or a.heads % a.kv_heads or a.hidden // a.heads % 2:
        p.error("heads must divide --hidden into even parts, and --kv-heads must divide --heads")

    vocabulary, special = vocabulary_of(a.tokenizer)
    os.makedirs(a.out)
    for name in TOKENIZER_FILES:
        if os.path.exists(os.path.join(a.tokenizer, name)):
            shutil.copy(os.path.join(a.tokenizer, name), a.out)

    shards, tensors = [[]], list(shapes(a, vocabulary))
    for name, shape in tensors:
        if shards[-1] and sum(size_of(s) for _, s in shards[-1]) + size_of(shape) > a.shard_mb * 10**6:
            shards.append([])
        shards[-1].append((name, shape))
    total, weight_map, table = sum(size_of(s) for _, s in tensors), {}, high_bytes()
    for i, shard in enumerate(shards):
        file = "model.safetensors" if len(shards) == 1 else f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        write_shard(os.path.join(a.out, file), shard, a.seed, table)
        weight_map.update({name: file for name, _ in shard})
        print(f"{file}: {len(shard)} tensors", file=sys.stderr)
    if len(shards) > 1:
        with open(os.path.join(a.out, "model.safetensors.index.json"), "w", encoding="utf-8") as file:
            json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, file, indent=1)

    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16", "vocab_size": vocabulary,
        "hidden_size": a.hidden, "intermediate_size": a.intermediate, "num_hidden_layers": a.layers,
        "num_attention_heads": a.heads, "num_key_value_heads": a.kv_heads, "head_dim": a.hidden // a.heads,
        "hidden_act": "silu", "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True, **special,
    }  # fmt: skip
    # Last: a folder without it is no checkpoint.
    with open(os.path.join(a.out, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=1)
    print(f"{a.out}: {total // 2 / 1e9:.3f}e9 parameters, {total / 1e9:.2f} GB, {len(shards)} shard(s)", file=sys.stderr)


main()
