"""Trains miniworld's byte-level BPE tokenizer on the training splits and writes it in the hub's layout.

    python tools/miniworld/train_tokenizer.py [--data datasets/miniworld]

Deterministic: the `tokenizers` trainer breaks ties by token id, and the files are read in a fixed order.
"""

import argparse
import json
import pathlib

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

DOMAINS = ["encyclopedia", "story", "dialogue", "code"]
VOCABULARY = 2048
BOS, EOS = "<|begin|>", "<|end|>"


def train(data):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BOS, EOS],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train([str(data / domain / "train.txt") for domain in DOMAINS], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS}:1 $B:1", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return tokenizer


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=pathlib.Path, default=root / "datasets/miniworld")
    options = parser.parse_args()
    tokenizer = train(options.data)
    out = options.data / "model"
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1024,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    for domain in DOMAINS:
        text = (options.data / domain / "test.txt").read_text()
        tokens = len(tokenizer.encode(text, add_special_tokens=False).ids)
        print(f"{domain}: {len(text)} characters, {tokens} tokens in test")


if __name__ == "__main__":
    main()
