#!/usr/bin/env python3
"""Perplexity speed: build/bench/perplexity_speed against `transformers`, alternately, in one run.

  PEERS=/path/to/venv/bin/python bench/perplexity_speed.py --model models.d/smollm2 --text wiki.txt [--dtype bfloat16] [--tokens 2048] [--threads 2] [--repeats 7]

PEERS has torch and transformers. Both sides hold the model, then each scores the same window once a round, by turns: forward pass and
cross-entropy of every token but the first. The peer: AutoModelForCausalLM in the same dtype with SDPA attention, cross-entropy in float32 on its logits.
Printed last: medians, the ratio of medians, the median of the rounds' ratios (robust when other work takes the cores for a while), the share of
the GEMM rate (the model's matrix products alone, as at::linear, in the same rounds), peak memory of both. stdout: one JSON object.
"""
import argparse, json, os, statistics, sys, tempfile

from peer import ROOT, Side

def peer(a):
    import resource, time
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    torch.set_num_threads(a.threads)
    model = AutoModelForCausalLM.from_pretrained(a.model, dtype=getattr(torch, a.dtype), attn_implementation="sdpa").eval()
    for command in map(str.strip, sys.stdin):
        if command.startswith("ids "):
            tokenizer = AutoTokenizer.from_pretrained(a.model)
            text = open(a.text, encoding="utf-8", newline="").read(20 * a.tokens)
            x = tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids[:, :a.tokens]
            open(command[4:], "w").write(" ".join(map(str, x[0].tolist())))
            answer = {"tokens": x.shape[1]}
        elif command == "score":
            start = time.perf_counter()
            with torch.inference_mode():
                nll = torch.nn.functional.cross_entropy(model(x).logits[0, :-1].float(), x[0, 1:]).item()
            answer = {"seconds": time.perf_counter() - start, "nll": nll}
        else: answer = {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}
        print(json.dumps(answer), flush=True)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True); p.add_argument("--text", required=True); p.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    p.add_argument("--tokens", type=int, default=2048); p.add_argument("--threads", type=int, default=2); p.add_argument("--repeats", type=int, default=7)
    p.add_argument("--program", default=os.path.join(ROOT, "build/bench/perplexity_speed")); p.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.peer: return peer(a)
    python = os.environ.get("PEERS") or sys.exit("PEERS must name a Python that has torch and transformers")
    os.environ["OMP_NUM_THREADS"] = str(a.threads)
    with tempfile.TemporaryDirectory() as d:
        theirs = Side([python, os.path.abspath(__file__), "--peer", *sys.argv[1:]])
        tokens = theirs.ask(f"ids {d}/ids")["tokens"]
        ours = Side([a.program, a.model, d + "/ids", a.dtype, str(a.threads)])
        ours.ask("score"); theirs.ask("score")
        rounds = []
        for i in range(a.repeats):
            r = {"load": os.getloadavg()[0], "ours": ours.ask("score"), "theirs": theirs.ask("score"), "gemm": ours.ask("gemm")}
            rounds.append(r)
            print(f"round {i + 1}: ours {r['ours']['seconds']:.3f} s, transformers {r['theirs']['seconds']:.3f} s, products alone {r['gemm']['seconds']:.3f} s, "
                  f"load {r['load']:.1f}", file=sys.stderr)
        def of(side, pick=statistics.median): return pick(r[side]["seconds"] for r in rounds)
        parts = ours.ask("parts")
        result = {"dtype": a.dtype, "tokens": tokens, "threads": a.threads, "rounds": a.repeats,
            "seconds": {s: {"median": of(s), "min": of(s, min)} for s in ("ours", "theirs", "gemm")},
            "tokens_per_second": {s: tokens / of(s) for s in ("ours", "theirs")}, "ratio_of_medians": of("theirs") / of("ours"),
            "ratio_of_minima": of("theirs", min) / of("ours", min), "median_of_ratios": statistics.median(r["theirs"]["seconds"] / r["ours"]["seconds"] for r in rounds),
            "gemm_gflops": rounds[0]["gemm"]["flops"] / of("gemm", min) / 1e9,
            "share_of_gemm_rate": {"medians": of("gemm") / of("ours"), "minima": of("gemm", min) / of("ours", min)},
            "nll": {"ours": rounds[-1]["ours"]["nll"], "theirs": rounds[-1]["theirs"]["nll"]},
            "peak_mib": {"ours": ours.ask("peak")["peak_mib"], "theirs": theirs.ask("peak")["peak_mib"]}, "parts": parts, "load": [r["load"] for r in rounds]}
        print(json.dumps(result, indent=1))

main()
