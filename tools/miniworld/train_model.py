"""Trains the miniworld model from a seed and writes it in the hub's layout (config.json, model.safetensors in BF16).

    OMP_NUM_THREADS=1 python tools/miniworld/train_model.py --seed 0 --out datasets/miniworld/model

One seed fixes the initial weights, the order of documents and the places of <|begin|>/<|end|>: at a fixed
number of threads (one), on one kind of CPU and with the versions of requirements.txt, a run repeats to the
bit. Another thread count or instruction set rounds differently and gives another, equally good model. Needs
tokenizer.json in --out or in datasets/miniworld/model.
"""

import argparse
import json
import math
import os
import pathlib
import random
import shutil
import time
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM

from train_tokenizer import BOS, DOMAINS, EOS, VOCABULARY

CONFIG = dict(
    vocab_size=VOCABULARY,
    hidden_size=192,
    intermediate_size=704,
    num_hidden_layers=4,
    num_attention_heads=6,
    num_key_value_heads=2,
    head_dim=32,
    max_position_embeddings=1024,
    rms_norm_eps=1e-5,
    tie_word_embeddings=True,
    hidden_act="silu",
    attention_bias=False,
    mlp_bias=False,
    bos_token_id=0,
    eos_token_id=1,
)
# Tokens a step. Small steps: at equal tokens, 512 a step learned far more here than 2048.
TOKENS = 512


class Stage(NamedTuple):
    steps: int
    horizon: int  # where the rate's cosine would end; the stage may stop earlier
    lengths: list  # (share of the stage, window length)
    peak: float
    final: float
    warmup: int


# In a short window even a head that still looks everywhere alike sees mostly its own sentence: heads that find a
# sentence's subject, and with them facts, form sooner than in windows of 512 from the start.
FIRST = Stage(6000, 12000, [(1.0, 64)], peak=2e-3, final=5e-5, warmup=150)
# Longer windows, exercises and half of the documents: teaches to answer yes or no about a passage.
# Answering took long to come: after 3000 steps two seeds of three still answered by chance.
SECOND = Stage(9000, 9000, [(0.6, 128), (0.8, 256), (1.0, 512)], peak=1e-3, final=2e-5, warmup=50)
BETAS, DECAY, CLIP = (0.9, 0.95), 0.1, 1.0
BOUNDARY = 0.3  # share of document boundaries marked <|end|><|begin|> instead of a blank line


def documents(data, tokenizer, files):
    """Token ids of the files' documents (split at blank lines), with the ids of the blank line after each."""
    out = []
    for name in files:
        texts = (data / name).read_text().rstrip("\n").split("\n\n")
        out += [e.ids for e in tokenizer.encode_batch([t + "\n\n" for t in texts], add_special_tokens=False)]
    return out


def epoch_stream(parts, rng, bos, eos, runs):
    """One pass over the documents as a single list of tokens: shuffled in runs of neighbours.

    Neighbours stay together because a window of the test corpora holds several documents of one domain.
    """
    starts = list(range(0, len(parts), runs))
    rng.shuffle(starts)
    out = []
    for start in starts:
        for ids in parts[start : start + runs]:
            if rng.random() < BOUNDARY:
                out += [eos, bos]
            out += ids
    return out


def batches(parts, seed, bos, eos, stage):
    """A stage's id tensors [windows, length + 1] of TOKENS predicted tokens each; `seed` is any string."""
    rng, stream, windows = random.Random(seed), [], []
    for step in range(stage.steps):
        length = next(n for share, n in stage.lengths if step < share * stage.steps)
        if windows and len(windows[0]) != length + 1:
            stream, windows = sum(windows, []) + stream, []
        while len(windows) < TOKENS // length:
            stream += epoch_stream(parts, rng, bos, eos, runs=3)
            count = len(stream) // (length + 1)
            windows += [stream[i * (length + 1) : (i + 1) * (length + 1)] for i in range(count)]
            stream = stream[count * (length + 1) :]
            rng.shuffle(windows)
        yield torch.tensor(windows[: TOKENS // length])
        windows = windows[TOKENS // length :]


def rate(step, stage):
    if step < stage.warmup:
        return stage.peak * (step + 1) / stage.warmup
    done = (step - stage.warmup) / (stage.horizon - stage.warmup)
    return stage.final + (stage.peak - stage.final) * 0.5 * (1 + math.cos(math.pi * done))


def plain_attention(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **unused):
    """Causal attention as two matrix products: in BF16 on a CPU faster than the fused kernel's backward pass."""
    groups, length = query.shape[1] // key.shape[1], query.shape[2]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    future = torch.full((length, length), float("-inf"), dtype=query.dtype).triu(1)
    weights = torch.softmax(query @ key.transpose(-1, -2) * scaling + future, -1, dtype=query.dtype)
    return (weights @ value).transpose(1, 2).contiguous(), None


def new_model(seed):
    torch.manual_seed(seed)
    AttentionInterface.register("plain", plain_attention)
    model = LlamaForCausalLM(LlamaConfig(**CONFIG, attn_implementation="plain"))
    with torch.no_grad():  # residual outputs start small, so that six layers train at a high rate
        for layer in model.model.layers:
            for out in (layer.self_attn.o_proj, layer.mlp.down_proj):
                out.weight.mul_(1 / math.sqrt(2 * CONFIG["num_hidden_layers"]))
    return model


def new_optimizer(model):
    matrices = [p for p in model.parameters() if p.dim() == 2]
    norms = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": norms, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.0, betas=BETAS, fused=True)


def save(model, out):
    """BF16 weights under the hub's names (the tied head is left out) and config.json."""
    out.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: value.detach().to(torch.bfloat16).contiguous()
        for name, value in model.state_dict().items()
        if name != "lm_head.weight"
    }
    save_file(tensors, str(out / "model.safetensors"), metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "bfloat16",
        **CONFIG,
        "rope_theta": 10000.0,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "pretraining_tp": 1,
        "rope_scaling": None,
        "use_cache": True,
    }
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def run_stage(model, batch_source, stage, log):
    """Trains in place with a fresh optimizer, then rounds the weights to BF16, as they are stored."""
    optimizer = new_optimizer(model)
    start, average = time.time(), None
    model.train()
    for step, ids in enumerate(batch_source):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, stage)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
            logits = model.lm_head(hidden)
        loss = torch.nn.functional.cross_entropy(logits.float().view(-1, VOCABULARY), ids[:, 1:].reshape(-1))
        model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        average = loss.item() if average is None else 0.97 * average + 0.03 * loss.item()
        if (step + 1) % log == 0:
            seconds = time.time() - start
            speed = (step + 1) * TOKENS / seconds
            print(
                f"step {step + 1}/{stage.steps} loss {average:.4f} {speed:.0f} tokens/s {seconds:.0f} s",
                flush=True,
            )
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.to(torch.bfloat16))


def train(options):
    data = options.data
    source = data / "model" / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(source))
    bos, eos = tokenizer.token_to_id(BOS), tokenizer.token_to_id(EOS)
    parts = documents(data, tokenizer, [f"{domain}/train.txt" for domain in DOMAINS])
    exercises = documents(data, tokenizer, ["encyclopedia/exercises.txt"])
    print(f"{len(parts)} documents, {sum(map(len, parts))} tokens", flush=True)
    print(f"{len(exercises)} exercises, {sum(map(len, exercises))} tokens", flush=True)
    model = new_model(options.seed)
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)
    first = options.out.with_name(options.out.name + "-first")
    if options.resume:
        state = {k: v.float() for k, v in load_file(str(first / "model.safetensors")).items()}
        model.load_state_dict(state, strict=False)
    else:
        run_stage(model, batches(parts, f"{options.seed}/order", bos, eos, FIRST), FIRST, options.log)
        if options.keep:
            save(model, first)
    some = [ids for i, ids in enumerate(parts) if i // 3 % 2 == 0]
    run_stage(
        model, batches(exercises + some, f"{options.seed}/second", bos, eos, SECOND), SECOND, options.log
    )
    save(model, options.out)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (options.out / name).resolve() != (source.parent / name).resolve():
            shutil.copy(source.parent / name, options.out / name)


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=pathlib.Path, default=root / "datasets/miniworld")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--log", type=int, default=500)
    parser.add_argument(
        "--keep", action="store_true", help="also write OUT-first, the model after the first stage"
    )
    parser.add_argument("--resume", action="store_true", help="start the second stage from OUT-first")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    torch.set_num_threads(options.threads)
    train(options)


if __name__ == "__main__":
    main()
