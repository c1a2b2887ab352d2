#!/usr/bin/env python3
"""Evaluations against lm-eval 0.4.13 (hf model): the same documents, one run.

  PEER=<python with lm-eval> bench/task_speed.py --model models.d/smollm2 --data ../shared/data/tasks [--dtype float32] [--documents 100] [TASK ...]

TASK: piqa, arc_easy, hellaswag (the default, with mmlu), winogrande, ..., mmlu (5 shots, `--subjects` of its subjects, all their documents),
wikitext (lm-eval's rolling windows, 2 pages of --text), gsm8k (5 shots, generated; the tests' own 24 problems). Both sides hold the model. Ours: documents read, requests built, scored, metrics. Theirs: loglikelihood() of requests
that are built already, once for each of --batch-sizes (lm-eval's "auto" finds its largest, on a CPU always the allowed most); the fastest counts. Ours runs before,
between and after, so that what else the machine did meanwhile shows; processor seconds, of all threads, feel it less. stdout: one JSON object: for each task and dtype seconds, the ratio, the highest resident
MiB of both sides while scoring (the peer's at its fastest batch size), and the largest difference between log-likelihoods, or how many answers
are the same text.
"""
import argparse
import json
import os
import statistics
import sys
import tempfile
import time

from peer import ROOT, Side, forget_peak, peak_mib, peer_python

FILES = {"hellaswag": "hellaswag/validation_2000.jsonl"}


def local_tasks(a, folder):
    """[(task, documents, shots, fewshot file)] of one measurement."""
    if a.tasks == ["mmlu"]:
        counts = {}
        for line in open(a.data + "/mmlu/validation.jsonl", encoding="utf-8"):
            subject = json.loads(line)["subject"]
            counts[subject] = counts.get(subject, 0) + 1
        names = sorted(counts, key=lambda s: (abs(counts[s] - 27), s))[: a.subjects]  # as many as subjects have on average
        return [(f"mmlu_{s}", a.data + "/mmlu/validation.jsonl", 5, a.data + "/mmlu/dev.jsonl") for s in names]
    if a.tasks == ["wikitext"]:
        pages = [[]]
        for line in open(a.text, encoding="utf-8"):
            if line.startswith(" = ") and not line.startswith(" = ="):
                pages.append([])
            pages[-1].append(line)
        path = folder + "/pages.jsonl"
        with open(path, "w") as file:
            file.writelines(json.dumps({"page": "".join(page)}) + "\n" for page in pages[1 : 1 + a.pages])
        return [("wikitext", path, 0, "")]
    if a.tasks == ["gsm8k"]:
        problems = ROOT + "/tests/evaluators/documents/generation/gsm8k"
        return [("gsm8k", problems + ".jsonl", 5, problems + "_train.jsonl")]
    return [(t, f"{a.data}/{FILES.get(t, t + '/validation.jsonl')}", 0, "") for t in a.tasks]


def peer(a):
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    sys.path.insert(0, ROOT + "/tools")
    import torch
    from lm_eval.models.huggingface import HFLM
    from task_golden import load_task

    torch.set_num_threads(a.threads)
    instances, order = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name, documents, shots, fewshot in local_tasks(a, a.folder):
            task = load_task(name, documents, fewshot, shots, folder)
            task.build_all_requests(limit=a.documents if a.tasks not in (["mmlu"], ["wikitext"]) else None)
            instances += task.instances
    kind = instances[0].request_type
    lm = HFLM(pretrained=a.model, dtype=a.dtype, device="cpu", batch_size=1, max_length=2048 if kind == "generate_until" else None)
    for command in map(str.strip, sys.stdin):
        lm.batch_size_per_gpu = int(command)
        forget_peak()
        start, cpu_start = time.perf_counter(), time.process_time()
        answers = getattr(lm, kind)(instances, disable_tqdm=True)
        spent = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu_start}
        values = [value for value, _ in answers] if kind == "loglikelihood" else list(answers)
        print(json.dumps(spent | {"requests": len(instances), "peak_mib": peak_mib(), "values": values}), flush=True)


def difference(ours, theirs):
    """The largest, where both sides have a value a request (equal requests of a document are one of ours; pages are several)."""
    return max(abs(x - y) for x, y in zip(ours, theirs)) if len(ours) == len(theirs) else None


def compared(ours, theirs):
    if ours["texts"]:
        return {"same_answers": sum(x == y for x, y in zip(ours["texts"], theirs)), "answers": len(theirs)}
    return {"largest_difference": difference(ours["values"], theirs)}


def measure(a, python, task, dtype):
    with tempfile.TemporaryDirectory() as folder:
        a.tasks = [task]
        chosen = local_tasks(a, folder)
        limit = 0 if task in ("mmlu", "wikitext") else a.documents
        _, documents, shots, fewshot = chosen[0]
        ours = Side([a.program, a.model, documents, str(shots), fewshot or "-", str(limit), dtype, str(a.threads), *(name for name, *_ in chosen)])
        options = ["--model", os.path.abspath(a.model), "--data", os.path.abspath(a.data), "--dtype", dtype, "--documents", str(a.documents), "--subjects",
                   str(a.subjects), "--text", os.path.abspath(a.text), "--pages", str(a.pages), "--threads", str(a.threads)]  # fmt: skip
        theirs = Side([python, os.path.abspath(__file__), "--peer", "--folder", folder, *options, task])
        rounds, answers = [ours.ask("score")], {}
        for size in a.batch_sizes:
            answers[size] = theirs.ask(str(size))
            rounds.append(ours.ask("score"))
            print(f"{task} {dtype}: batch size {size}: lm-eval {answers[size]['seconds']:.2f} s, ours {rounds[-1]['seconds']:.2f} s, load {os.getloadavg()[0]:.1f}",
                  file=sys.stderr)  # fmt: skip
        values = ours.ask("values")
        best = min(answers, key=lambda size: answers[size]["seconds"])
        seconds, cpu = (statistics.median(r[key] for r in rounds[1:]) for key in ("seconds", "cpu_seconds"))
        count = answers[best]["requests"]
        ours.close(), theirs.close()
        return {"task": task, "dtype": dtype, "documents": [name for name, *_ in chosen] if task == "mmlu" else limit or a.pages, "requests": count,
                "ratio": answers[best]["seconds"] / seconds, "ratio_of_cpu": answers[best]["cpu_seconds"] / cpu, "requests_per_second": {"ours": count / seconds, "theirs": count / answers[best]["seconds"]},
                **{key: {"ours": [r[key] for r in rounds], "theirs": {size: answer[key] for size, answer in answers.items()}} for key in ("seconds", "cpu_seconds")},
                "peak_mib": {"ours": max(r["peak_mib"] for r in rounds), "theirs": answers[best]["peak_mib"]}, "best_batch_size": best,
                "ours": {key: rounds[-1][key] for key in ("prepared", "batches", "tokens", "metrics")},
                **compared(values, answers[best]["values"]), "load": os.getloadavg()[0]}  # fmt: skip


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("tasks", nargs="*", default=["piqa", "arc_easy", "hellaswag", "mmlu"])
    p.add_argument("--model", required=True)
    p.add_argument("--data", required=True)
    p.add_argument("--dtype", nargs="+", default=["float32"], choices=["float32", "bfloat16"])
    p.add_argument("--documents", type=int, default=100)
    p.add_argument("--subjects", type=int, default=3)
    p.add_argument("--text", default=os.path.join(ROOT, "../shared/data/wikitext2/test.txt"))
    p.add_argument("--pages", type=int, default=2)
    p.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 32])
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--program", default=os.path.join(ROOT, "build/bench/task_speed"))
    p.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    p.add_argument("--folder", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.peer:
        a.dtype = a.dtype[0]
        return peer(a)
    python = peer_python("lm-eval")
    os.environ["OMP_NUM_THREADS"] = str(a.threads)
    tasks = a.tasks
    print(json.dumps([measure(a, python, task, dtype) for task in tasks for dtype in a.dtype], indent=1))


main()
