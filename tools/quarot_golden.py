#!/usr/bin/env python3
"""Makes tests/harness/golden/quarot_stories260K.json: QuaRot with round to nearest, independently of this project's code.

  quarot_golden.py DIR        DIR: the stories260K checkpoint

`transformers`' model with hooks: norms folded, residual stream rotated by diag(signs) H_64 / 8 (H by scipy), values and outputs by
H_8 in each head, outputs over the heads by H_8, down's input by 43 blocks of H_4 (172 = 43 x 4), all in float64; then weights on 4 bits a
row (symmetric, scale max|w| / 7) and inputs of linears on 4 bits a token, of the rotated model and of the plain one. Written: ids (200
that the model itself continues BOS with, greedily), and the mean negative log-likelihood of each variant.
Signs are bit 0 of Philox4x32-10 (Salmon et al. 2011), written out here.
Run with a Python that has torch, transformers and scipy (made with 2.13.0, 5.23.0).
"""
import json, os, sys

import torch
from scipy.linalg import hadamard
from transformers import AutoModelForCausalLM

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/harness/golden/quarot_stories260K.json")
MASK = 0xFFFFFFFF

def philox(counter, key):
    for _ in range(10):
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [(b >> 32) ^ counter[1] ^ key[0], b & MASK, (a >> 32) ^ counter[3] ^ key[1], a & MASK]
        key = [(key[0] + 0x9E3779B9) & MASK, (key[1] + 0xBB67AE85) & MASK]
    return counter

def signs(n, seed, purpose):
    stream = 0xCBF29CE484222325  # FNV-1a of the purpose
    for c in purpose.encode(): stream = ((stream ^ c) * 0x100000001B3) & (2**64 - 1)
    word = lambda i: philox([i, 0, stream & MASK, stream >> 32], [seed & MASK, seed >> 32])[0]
    return torch.tensor([-1.0 if word(i) & 1 else 1.0 for i in range(n)], dtype=torch.float64)

def H(n): return torch.tensor(hadamard(n), dtype=torch.float64) / n**0.5

def rounded(x):  # 4 bits a row, symmetric, half to even
    scale = x.abs().amax(-1, keepdim=True).clamp_min(1e-5) / 7
    return torch.clamp(torch.round(x / scale), -8, 7) * scale

@torch.inference_mode()
def nll(model, ids):
    logits = model(ids[None]).logits[0, :-1].double()
    return -logits.log_softmax(-1)[torch.arange(len(ids) - 1), ids[1:]].mean().item()

def linears(model):
    for layer in model.model.layers:
        a, m = layer.self_attn, layer.mlp
        yield from (a.q_proj, a.k_proj, a.v_proj, a.o_proj, m.gate_proj, m.up_proj, m.down_proj)

def quantize(model):
    for linear in linears(model):
        linear.weight.data = rounded(linear.weight.data)
        linear.register_forward_pre_hook(lambda module, args: (rounded(args[0]),))

def rotate(model):
    c = model.config
    D, heads, kv, E, inner = c.hidden_size, c.num_attention_heads, c.num_key_value_heads, c.hidden_size // c.num_attention_heads, c.intermediate_size
    R = signs(D, 0, "quarot signs")[:, None] * H(D)
    over_heads, in_head = torch.kron(H(heads), torch.eye(E, dtype=torch.float64)), H(E)
    blocks = torch.kron(torch.eye(inner // 4, dtype=torch.float64), H(4))
    def weight(module, value): module.weight.data = value.float()
    def online(module, matrix): module.register_forward_pre_hook(lambda _, args: (args[0] @ matrix.float(),))
    head, embedding = model.lm_head.weight.data.double(), model.model.embed_tokens.weight.data.double()
    model.lm_head.weight = torch.nn.Parameter((head * model.model.norm.weight.double()) @ R).requires_grad_(False)
    model.lm_head.weight.data = model.lm_head.weight.data.float()
    model.model.embed_tokens.weight = torch.nn.Parameter((embedding @ R).float())
    model.model.norm.weight.data.fill_(1)
    for layer in model.model.layers:
        a, m = layer.self_attn, layer.mlp
        for norm, readers in ((layer.input_layernorm, (a.q_proj, a.k_proj, a.v_proj)), (layer.post_attention_layernorm, (m.gate_proj, m.up_proj))):
            for linear in readers: weight(linear, linear.weight.double() * norm.weight.double() @ R)
            norm.weight.data.fill_(1)
        weight(a.v_proj, torch.kron(torch.eye(kv, dtype=torch.float64), in_head).T @ a.v_proj.weight.double())
        weight(a.o_proj, R.T @ a.o_proj.weight.double() @ torch.kron(torch.eye(heads, dtype=torch.float64), in_head) @ over_heads)
        weight(m.down_proj, R.T @ m.down_proj.weight.double() @ blocks)
        online(a.o_proj, over_heads)
        online(m.down_proj, blocks)

def main():
    load = lambda: AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval().requires_grad_(False)
    plain, rtn, rotated, quarot = load(), load(), load(), load()
    ids = torch.tensor([1])
    with torch.inference_mode():
        for _ in range(199): ids = torch.cat([ids, plain(ids[None]).logits[0, -1].argmax()[None]])
    quantize(rtn)
    rotate(rotated)
    rotate(quarot)
    quantize(quarot)
    golden = {"made_by": "tools/quarot_golden.py", "torch": torch.__version__, "ids": ids.tolist(), "full_precision": nll(plain, ids),
              "rotated": nll(rotated, ids), "w4a4_rtn": nll(rtn, ids), "w4a4_quarot": nll(quarot, ids)}
    os.makedirs(os.path.dirname(OUT), exist_ok=True)
    with open(OUT, "w") as f: json.dump(golden, f)
    print({k: v for k, v in golden.items() if k != "ids"})

main()
