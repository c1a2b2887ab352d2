"""Figures of a miniworld model: perplexity by domain and task accuracy, in full precision and quantized.

    OMP_NUM_THREADS=1 python tools/miniworld/evaluate.py datasets/miniworld/model --out figures.json

An independent reference in a page of torch, not the benchmark: RTN and GPTQ on all linears of all blocks,
integer, asymmetric, groups of 64, no clipping search; perplexity over whole windows of 512 tokens of each
test file (the file as it is, no BOS, the first token of each window unscored); tasks scored as lm-eval's
harness scores them (BOS first).
"""

import argparse
import json
import math
import pathlib
import time

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from train_tokenizer import DOMAINS

GROUP, WINDOW, CALIBRATION = 64, 512, 16  # CALIBRATION windows of each domain's training text
TASKS = ["piqa", "arc", "lambada", "boolq", "winogrande"]
RUNS = [
    ("full", None, None),
    ("rtn", "rtn", 4),
    ("rtn", "rtn", 3),
    ("rtn", "rtn", 2),
    ("gptq", "gptq", 4),
    ("gptq", "gptq", 3),
    ("gptq", "gptq", 2),
]


def load(directory):
    config = json.loads((directory / "config.json").read_text())
    for key in ("architectures", "model_type", "torch_dtype"):
        config.pop(key)
    model = LlamaForCausalLM(LlamaConfig(**config))
    state = {k: v.float() for k, v in load_file(str(directory / "model.safetensors")).items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert set(missing) <= {"lm_head.weight"} and not unexpected
    return model.eval().requires_grad_(False), Tokenizer.from_file(str(directory / "tokenizer.json"))


def grid(weight_OG, bits):
    """Scale and zero point of each row of a group: minimum and maximum, 0 included."""
    low, high = weight_OG.amin(1).clamp(max=0), weight_OG.amax(1).clamp(min=0)
    scale = ((high - low) / (2**bits - 1)).clamp(min=1e-8)
    return scale, torch.round(-low / scale).clamp(0, 2**bits - 1)


def snap(weight, scale, zero, bits):
    return (torch.clamp(torch.round(weight / scale) + zero, 0, 2**bits - 1) - zero) * scale


def rtn(weight_OI, bits):
    out = weight_OI.clone()
    for start in range(0, weight_OI.shape[1], GROUP):
        part = weight_OI[:, start : start + GROUP]
        scale, zero = grid(part, bits)
        out[:, start : start + GROUP] = snap(part, scale[:, None], zero[:, None], bits)
    return out


def gptq(weight_OI, hessian_II, bits, damping=0.01):
    """Column by column, each column's rounding error spread over the later ones through the inverse Hessian."""
    weight, hessian = weight_OI.clone().double(), hessian_II.clone().double()
    hessian.diagonal().add_(damping * hessian.diagonal().mean())
    factor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(hessian)), upper=True)
    for i in range(weight.shape[1]):
        if i % GROUP == 0:
            scale, zero = grid(weight[:, i : i + GROUP], bits)
        rounded = snap(weight[:, i], scale, zero, bits)
        error = (weight[:, i] - rounded) / factor[i, i]
        weight[:, i + 1 :] -= error[:, None] * factor[i, i + 1 :]
        weight[:, i] = rounded
    return weight.float()


def linears(block):
    return {n: m for n, m in block.named_modules() if isinstance(m, torch.nn.Linear)}


def quantize(model, method, bits, windows):
    """In place; GPTQ's statistics of a block come from the blocks before it as quantized."""
    for block in model.model.layers:
        hessians, hooks = {}, []
        if method == "gptq":
            for name, linear in linears(block).items():

                def hook(_, inputs, __, name=name):
                    x = inputs[0].reshape(-1, inputs[0].shape[-1])
                    hessians[name] = hessians.get(name, 0) + x.T @ x

                hooks.append(linear.register_forward_hook(hook))
            for ids in windows.split(8):
                model.model(input_ids=ids, use_cache=False)
            for handle in hooks:
                handle.remove()
        for name, linear in linears(block).items():
            w = linear.weight.data
            linear.weight.data = rtn(w, bits) if method == "rtn" else gptq(w, hessians[name], bits)


def calibration(data, tokenizer):
    out = []
    for domain in DOMAINS:
        text = (data / domain / "train.txt").read_text()[:200_000]
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        out += [ids[i * WINDOW : (i + 1) * WINDOW] for i in range(CALIBRATION)]
    return torch.tensor(out)


def perplexity(model, ids):
    """Mean loss of each window in nats a token."""
    out = []
    for batch in ids.split(8):
        logits = model(input_ids=batch, use_cache=False).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), batch[:, 1:], reduction="none")
        out += loss.mean(1).tolist()
    return out


def requests(task, item):
    """(context, continuation) of each choice, and the right choice (None: greedy match)."""
    if task == "piqa":
        return [(f"Question: {item['goal']}\nAnswer:", " " + item[s]) for s in ("sol1", "sol2")], item[
            "label"
        ]
    if task == "arc":
        c = item["choices"]
        return [(f"Question: {item['question']}\nAnswer:", " " + t) for t in c["text"]], c["label"].index(
            item["answerKey"]
        )
    if task == "boolq":
        return [
            (f"{item['passage']}\nQuestion: {item['question']}?\nAnswer:", t) for t in (" no", " yes")
        ], int(item["answer"])
    if task == "winogrande":
        before, after = item["sentence"].split("_")
        return [(before + item[o], after) for o in ("option1", "option2")], int(item["answer"]) - 1
    context, last = item["text"].rsplit(" ", 1)
    return [(context, " " + last)], None


def score(model, tokenizer, pairs):
    """(sum of log-probabilities, whether greedy) of each continuation; sorted by length, padded at the right."""
    encoded = []
    for context, continuation in pairs:
        whole, start = tokenizer.encode(context + continuation).ids, len(tokenizer.encode(context).ids)
        encoded.append((whole, start))
    order, out, i = sorted(range(len(pairs)), key=lambda k: -len(encoded[k][0])), [None] * len(pairs), 0
    while i < len(order):
        length = len(encoded[order[i]][0])
        rows = order[i : i + max(1, 4096 // length)]
        i += len(rows)
        ids = torch.tensor([encoded[r][0] + [0] * (length - len(encoded[r][0])) for r in rows])
        logits = model(input_ids=ids, use_cache=False).logits.log_softmax(-1)
        for j, r in enumerate(rows):
            whole, start = encoded[r]
            target = torch.tensor(whole[start:])
            part = logits[j, start - 1 : len(whole) - 1]
            out[r] = (part.gather(1, target[:, None]).sum().item(), bool((part.argmax(-1) == target).all()))
    return out


def accuracy(model, tokenizer, task, items):
    """Right or wrong for each item, by sum of log-probabilities and (norm) by that sum over the length in characters."""
    listed = [requests(task, item) for item in items]
    scores = iter(score(model, tokenizer, [pair for pairs, _ in listed for pair in pairs]))
    plain, norm = [], []
    for pairs, right in listed:
        mine = [next(scores) for _ in pairs]
        if right is None:
            plain.append(int(mine[0][1]))
            norm.append(int(mine[0][1]))
            continue
        sums = [s for s, _ in mine]
        by_length = [s / len(c[1]) for s, c in zip(sums, pairs)]
        plain.append(int(sums.index(max(sums)) == right))
        norm.append(int(by_length.index(max(by_length)) == right))
    return plain, norm


def mean_and_error(values):
    mean = sum(values) / len(values)
    return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path, default=root / "datasets/miniworld")
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--runs", help="such as full,rtn4,gptq2; default all")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = {}
    for name, method, bits in RUNS:
        run = name if bits is None else f"{name}{bits}"
        if options.runs and run not in options.runs.split(","):
            continue
        start = time.time()
        model, tokenizer = load(options.model)
        with torch.no_grad():
            if method:
                quantize(model, method, bits, calibration(options.data, tokenizer))
            result = {"nll": {}, "acc": {}, "acc_norm": {}}
            for domain in DOMAINS:
                ids = tokenizer.encode(
                    (options.data / domain / "test.txt").read_text(), add_special_tokens=False
                ).ids
                count = len(ids) // WINDOW
                result["nll"][domain] = perplexity(
                    model, torch.tensor(ids[: count * WINDOW]).view(count, WINDOW)
                )
            for task in TASKS:
                items = [
                    json.loads(x) for x in (options.data / "tasks" / f"{task}.jsonl").read_text().splitlines()
                ]
                result["acc"][task], result["acc_norm"][task] = accuracy(model, tokenizer, task, items)
        results[run] = result
        line = " ".join(f"{d} {math.exp(mean_and_error(v)[0]):.3f}" for d, v in result["nll"].items())
        line += " | " + " ".join(f"{t} {mean_and_error(v)[0]:.3f}" for t, v in result["acc"].items())
        print(f"{run}: {line} ({time.time() - start:.0f} s)", flush=True)
        if options.out:  # after every run, so that an interrupted evaluation keeps what it has
            options.out.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
