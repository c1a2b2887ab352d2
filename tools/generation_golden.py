#!/usr/bin/env python3
"""Goldens of generative tasks: what lm-eval 0.4.13 asks a causal Hugging Face model for GSM8K, and the greedy text that it answers.

  tools/generation_golden.py [--shared ../shared] [--smollm2 DIR]
                             run with a Python that has lm-eval 0.4.13, transformers 5 and tokenizers

Writes tests/evaluators/golden/generation.json: cases over tests/evaluators/documents/generation with the tests' own tokenizer
(every id), stories260K and, with --smollm2, SmolLM2 in float32 (hashes of the ids, texts, metrics, standard errors). `gaps` is,
of each answer, the least difference between the two largest logits before its tokens: where it is near rounding, texts may part.
"""
import argparse, json, os, sys

import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import task_golden as golden
from lm_eval.models.huggingface import HFLM

DOCUMENTS = os.path.join(golden.HERE, "documents", "generation")


class Recorder:
    """Stands for HFLM._model_generate: keeps what goes in and comes out."""

    def __init__(self, model, answers):
        self.seen, self.original, self.answers = [], getattr(model, "_model_generate", None), answers
        model._model_generate = self

    def __call__(self, context, attention_mask, **options):
        assert context.shape[0] == 1 and bool(attention_mask.all())
        whole = self.original(context=context, attention_mask=attention_mask, **options) if self.answers else context
        self.seen.append((context[0].tolist(), whole[0].tolist()))
        return whole


def least_gap(model, context, whole):
    with torch.no_grad():
        logits = model.model(torch.tensor([whole])).logits[0, len(context) - 1:len(whole) - 1].float()
    penalty = model.model.generation_config.repetition_penalty
    if penalty not in (None, 1.0):
        for row in range(len(logits)):
            seen = torch.tensor(sorted(set(whole[:len(context) + row])))
            logits[row, seen] = torch.where(logits[row, seen] < 0, logits[row, seen] * penalty, logits[row, seen] / penalty)
    top = logits.topk(2).values
    return round(float((top[:, 0] - top[:, 1]).min()), 6)


def build_case(data, fewshot, tokenizer, max_length, shots, model=None, keep=None, chat=""):
    lm = model or golden.tokenizer_only(tokenizer, max_length)
    if model is None:
        lm.truncation, lm.think_end_token, lm._device = False, None, torch.device("cpu")
        tokenizer.pad_token = tokenizer.eos_token
    with golden.tempfile.TemporaryDirectory() as folder:
        task = golden.load_task("gsm8k", f"{DOCUMENTS}/{data}", f"{DOCUMENTS}/{fewshot}" if fewshot else "", shots, folder)
        task.build_all_requests(apply_chat_template=bool(chat), fewshot_as_multiturn=bool(chat),
                                chat_template=lm.apply_chat_template if chat else None)
    recorder = Recorder(lm, model is not None)
    by_context, texts = {}, []
    for instance in task.instances:  # one at a time, in the documents' order
        texts += lm.generate_until([instance], disable_tqdm=True)
        by_context[instance.doc_id] = recorder.seen[-1]
    if model is not None:
        lm._model_generate = recorder.original
    requests = [(context, len(context)) for context, _ in by_context.values()]
    case = {"task": "gsm8k", "data": data, "fewshot": fewshot, "shots": shots, "limit": 0, "max_positions": max_length,
            "chat_template": chat, "count": len(requests), "digest": golden.digest(requests),
            "requests": [[ids, begin] for ids, begin in requests[:keep]]}
    if model is None:
        return case
    case.update(answers=texts, gaps=[least_gap(lm, *seen) for seen in by_context.values()])
    for instance, text in zip(task.instances, texts):
        instance.resps = [text]
    task.apply_filters()
    case["metrics"], case["stderr"] = {}, {}
    for name in ("strict-match", "flexible-extract"):
        answers = [instance.filtered_resps[name] for instance in task.instances]
        metrics, errors = golden.evaluate(task, task.instances, answers)
        case["metrics"][f"exact_match,{name}"] = metrics["exact_match"]
        case["stderr"][f"exact_match,{name}"] = errors["exact_match"]
    print(data, shots, chat, case["metrics"], min(case["gaps"]), flush=True)
    return case


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", default=os.path.join(golden.ROOT, "..", "shared"))
    parser.add_argument("--smollm2", default="", help="its folder")
    arguments = parser.parse_args()

    small = golden.open_tokenizer(golden.HERE + "/golden/tokenizer")
    cases = [build_case("gsm8k.jsonl", "gsm8k_train.jsonl", small, 1024, 5, keep=2), build_case("gsm8k.jsonl", "", small, 1024, 3, keep=2),
             build_case("gsm8k.jsonl", "", small, 320, 0)]  # the last: contexts cut to 64 ids
    folder = arguments.shared + "/data/stories260K"
    stories = HFLM(pretrained=folder, dtype="float32", device="cpu", batch_size=1)
    for shots in (0, 2):
        cases.append(build_case("gsm8k.jsonl", "gsm8k_train.jsonl", None, stories.max_length, shots, stories, keep=0) | {"tokenizer": "stories260K"})
    stories.model.generation_config.repetition_penalty = 1.3  # as if generation_config.json said so
    cases.append(build_case("gsm8k.jsonl", "gsm8k_train.jsonl", None, stories.max_length, 1, stories, keep=0) | {"tokenizer": "stories260K", "repetition_penalty": 1.3})
    if arguments.smollm2:
        model = HFLM(pretrained=arguments.smollm2, dtype="float32", device="cpu", batch_size=1, max_length=2048)
        for shots, chat in ((5, ""), (1, "chatml_smollm2")):
            case = build_case("gsm8k.jsonl", "gsm8k_train.jsonl", None, 2048, shots, model, keep=0, chat=chat)
            cases.append(case | {"tokenizer": "smollm2"})
    golden.write("generation.json", cases)


if __name__ == "__main__":
    main()
