#!/usr/bin/env python3
"""Compares the project's tokenizers with the `tokenizers` library: ids of every text, and decoded text of every id list.

    tokenizer_differential.py [--program build/bench/tokenize_ids] [--data ../shared/data] [--random 100000] [--seed 0]
                              [--what lines,fields,files,expected,random,decode,newer] DIR...

DIR holds a tokenizer.json. Needs Python with tokenizers 0.23 (its unicodedata decides which code points count as assigned:
Python 3.11 has Unicode 14). Prints a line for each tokenizer and kind of text; exit code 1 when anything differs.
"""
import argparse, glob, json, os, random, struct, subprocess, sys, tempfile, unicodedata
from tokenizers import Tokenizer

ASSIGNED = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
BY_KIND = {
    "mark": [c for c in ASSIGNED if unicodedata.category(chr(c))[0] == "M"],
    "number": [c for c in ASSIGNED if unicodedata.category(chr(c))[0] == "N"],
    "punctuation": [c for c in ASSIGNED if unicodedata.category(chr(c))[0] in "PS"],
    "letter": [c for c in ASSIGNED if unicodedata.category(chr(c))[0] == "L"],
    "small": [c for c in ASSIGNED if unicodedata.category(chr(c))[0] == "L" and c < 0x2000],
    "control": [c for c in ASSIGNED if unicodedata.category(chr(c)) in ("Cc", "Cf")],
}
SPACES = " \t\n\r\v\f\x85\xa0\u1680\u180e\u2000\u2003\u2007\u200a\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff\u2581"
EMOJI = [0x1F468, 0x1F469, 0x1F467, 0x1F3FB, 0x1F3FF, 0x200D, 0xFE0F, 0x2764, 0x1F1E9, 0x1F1EA, 0x1F600, 0x1F937, 0x2640, 0x20E3]
SNIPPETS = ["'s", "'S", "'re", "'LL", "'ll", "'d", "'\u017f", "I'm", "don't", "\u2019t", "it's", "<0x0A>", "<0xE2>", "\u2581\u2581", "  ", "\n\n", "\r\n",
            " \n", "\t\t", "1234567", "3.14", "x1y2", "http://a.b/c?d=e&f", "fi\ufb01", "\uac00\u1100\u1161\u11a8", "e\u0301", "A\u030a", "\u1e9b\u0323", "\u0958", "\u2126", "SS\u00df\u1e9e",
            "\u0130I\u0131i", "\u01c4\u01c5", "\ud55c\uad6d", "\u4e2d\u6587\u5b57", "\u0627\u0644\u0639", "\u0e44\u0e17\u0e22", "\u0915\u094d\u0937\u093f", "==", "->", "/*", "    return x;", "Hello", "world", "the", "The quick", "\x00", "\x7f"]


def random_text(rng, added):
    parts = []
    for _ in range(rng.choice((1, 1, 2, 3, 5, 9))):
        kind = rng.randrange(12)
        n = rng.randint(1, 12)
        if kind <= 2:
            parts.append("".join(chr(rng.randint(32, 126)) for _ in range(n)))
        elif kind == 3:
            parts.append("".join(rng.choice(SPACES) for _ in range(n)))
        elif kind == 4:
            parts.append(" " * n if rng.random() < 0.5 else rng.choice("\n \t") * n)
        elif kind == 5:
            parts.append("".join(chr(rng.choice(ASSIGNED)) for _ in range(n)))
        elif kind == 6:
            name = rng.choice(list(BY_KIND))
            parts.append("".join(chr(rng.choice(BY_KIND[name])) for _ in range(n)))
        elif kind == 7:
            parts.append("".join(chr(rng.choice(BY_KIND["small"])) + chr(rng.choice(BY_KIND["mark"])) * rng.randint(0, 2) for _ in range(n)))
        elif kind == 8:
            parts.append("".join(chr(rng.choice(EMOJI)) for _ in range(n)))
        elif kind == 9 and added:
            parts.append(rng.choice(("", " ", "  ", "\n", "x", "_", "\u0301")) + rng.choice(added) + rng.choice(("", " ", "  ", "\n", "x", "_", "\u200d")))
        elif kind == 10:
            parts.append("".join(chr(rng.randint(0x4E00, 0x9FFF)) if rng.random() < 0.7 else chr(rng.randint(0xAC00, 0xD7A3)) for _ in range(n)))
        else:
            parts.append("".join(rng.choice(SNIPPETS) + rng.choice(("", " ", "")) for _ in range(rng.randint(1, 4))))
    return "".join(parts)


def run(program, directory, mode, payload):
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as got:
        given.write(payload); given.seek(0)
        subprocess.run([program, directory, *mode], stdin=given, stdout=got, check=True)
        got.seek(0)
        return got.read()


def encode_ours(program, directory, texts, special):
    payload = b"".join(struct.pack("<i", len(t)) + t for t in (text.encode("utf-8") for text in texts))
    out = run(program, directory, ["ids"] + (["special"] if special else []), payload)
    at, result = 0, []
    for _ in texts:
        count, = struct.unpack_from("<i", out, at); at += 4
        if count < 0:
            size, = struct.unpack_from("<i", out, at); at += 4
            result.append("error: " + out[at:at + size].decode()); at += size
        else:
            result.append(list(struct.unpack_from(f"<{count}i", out, at))); at += 4 * count
    assert at == len(out)
    return result


def decode_ours(program, directory, id_lists, skip):
    payload = b"".join(struct.pack(f"<{len(ids) + 1}i", len(ids), *ids) for ids in id_lists)
    out = run(program, directory, ["text"] + (["skip"] if skip else []), payload)
    at, result = 0, []
    for _ in id_lists:
        size, = struct.unpack_from("<i", out, at); at += 4
        result.append(out[at:at + size].decode("utf-8")); at += size
    return result


def compare(program, directory, reference, name, texts, special, report):
    ours = encode_ours(program, directory, texts, special)
    wrong = 0
    tokens = 0
    for text, got in zip(texts, ours):
        expected = reference.encode(text, add_special_tokens=special).ids
        tokens += len(expected)
        if got != expected:
            wrong += 1
            if wrong <= 3:
                print(f"  {text[:300]!r}\n    library {expected[:60]}\n    ours    {got[:60] if isinstance(got, list) else got}")
    report(f"{name}{' +special' if special else ''}", len(texts), tokens, wrong)
    return [ids for ids in ours if isinstance(ids, list)]


def compare_decoding(program, directory, reference, id_lists, report):
    for skip in (False, True):
        ours = decode_ours(program, directory, id_lists, skip)
        wrong = 0
        for ids, got in zip(id_lists, ours):
            expected = reference.decode(ids, skip_special_tokens=skip)
            if got != expected:
                wrong += 1
                if wrong <= 3: print(f"  {ids[:40]}\n    library {expected[:200]!r}\n    ours    {got[:200]!r}")
        report(f"decode skip={skip}", len(id_lists), sum(map(len, id_lists)), wrong)


def strings_in(value):
    if isinstance(value, str): yield value
    elif isinstance(value, list):
        for item in value: yield from strings_in(item)
    elif isinstance(value, dict):
        for item in value.values(): yield from strings_in(item)


def newer_code_points(program, directory, reference):
    """Code points that Python's unicodedata does not know: alone and between letters, how many give other ids."""
    unassigned = [c for c in range(0x110000) if unicodedata.category(chr(c)) == "Cn"]
    forms = ("{}", "a{}b", " {} ", "1{}2", ".{}.", "a{}\u0301b")
    wrong = set()
    for form in forms:
        texts = [form.format(chr(c)) for c in unassigned]
        for c, text, got in zip(unassigned, texts, encode_ours(program, directory, texts, False)):
            if got != reference.encode(text, add_special_tokens=False).ids: wrong.add(c)
    return wrong, len(unassigned)


def ranges(code_points):
    out = []
    for c in sorted(code_points):
        if out and out[-1][1] == c - 1: out[-1][1] = c
        else: out.append([c, c])
    return " ".join(f"{a:X}" if a == b else f"{a:X}-{b:X}" for a, b in out)


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=root + "/build/bench/tokenize_ids")
    parser.add_argument("--data", default=root + "/../shared/data")
    parser.add_argument("--random", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--what", default="lines,fields,files,expected,random,decode")
    parser.add_argument("directories", nargs="+")
    a = parser.parse_args()
    what = a.what.split(",")
    files = sorted(p for pattern in ("wikitext2/*.txt", "c4/*.jsonl", "redpajama/*.jsonl", "tasks/*/*.jsonl") for p in glob.glob(f"{a.data}/{pattern}"))
    contents = [open(p, encoding="utf-8", newline="").read() for p in files]
    lines = [line for text in contents for line in text.split("\n")]
    fields = sorted({s for p, text in zip(files, contents) if p.endswith(".jsonl") for line in text.split("\n") if line for s in strings_in(json.loads(line))})
    expected = [s for p in sorted(glob.glob(f"{a.data}/tokenizers/expected/*.inp"))[:1] for s in open(p, encoding="utf-8", newline="").read().split("\n__ggml_vocab_test__\n")[:-1]]
    failures = 0
    for directory in a.directories:
        name = os.path.basename(os.path.normpath(directory))
        reference = Tokenizer.from_file(directory + "/tokenizer.json")

        def report(kind, count, tokens, wrong):
            nonlocal failures
            failures += wrong
            print(f"{name:22} {kind:22} {count:8} texts {tokens:10} ids {wrong:6} differ", flush=True)

        added = [t.content for t in reference.get_added_tokens_decoder().values()]
        encoded = []
        if "expected" in what:
            encoded += compare(a.program, directory, reference, "expected", expected, False, report)
            compare(a.program, directory, reference, "expected", expected, True, report)
        if "lines" in what: encoded += compare(a.program, directory, reference, "lines", lines, False, report)[::20]
        if "fields" in what: encoded += compare(a.program, directory, reference, "fields", fields, False, report)[::20]
        if "files" in what: compare(a.program, directory, reference, "whole files", contents, False, report)
        if "random" in what:
            rng = random.Random(a.seed)
            texts = [random_text(rng, added) for _ in range(a.random)]
            encoded += compare(a.program, directory, reference, "random", texts, False, report)
            compare(a.program, directory, reference, "random", texts[: len(texts) // 10], True, report)
        if "decode" in what:
            rng = random.Random(a.seed + 1)
            size = reference.get_vocab_size() + 3
            encoded += [[rng.randrange(size) for _ in range(rng.randint(0, 12))] for _ in range(min(a.random, 20000))]
            compare_decoding(a.program, directory, reference, encoded, report)
        if "newer" in what:
            wrong, total = newer_code_points(a.program, directory, reference)
            print(f"{name:22} newer than Unicode {unicodedata.unidata_version}: {len(wrong)} of {total} unassigned code points differ: {ranges(wrong)[:3000]}", flush=True)
    return 1 if failures else 0


sys.exit(main())
