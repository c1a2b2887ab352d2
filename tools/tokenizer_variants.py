#!/usr/bin/env python3
"""Handmade tokenizers that cover what the four real ones do not: each component, option and kind of added token.

    tokenizer_variants.py golden DIR             small ones with expected ids and texts: tests/models/golden/tokenizer_{bytes,characters}.json
    tokenizer_variants.py directories DIR TEXT   larger ones, trained on the text file, for tokenizer_differential.py: DIR/<name>/tokenizer.json

Needs Python with tokenizers 0.23.
"""
import copy, json, os, random, sys
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = "|".join([r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                  r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                  r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
DEEPSEEK = [r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+", r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]
BYTE_FALLBACK = [f"<0x{b:02X}>" for b in range(256)]
ADDED = [AddedToken("<plain>", normalized=False), AddedToken("<left>", lstrip=True, normalized=False), AddedToken("<right>", rstrip=True, normalized=False),
         AddedToken("<both>", lstrip=True, rstrip=True, normalized=False), AddedToken("word", single_word=True, normalized=False), AddedToken("Norm", normalized=True),
         AddedToken("É t", normalized=True, lstrip=True), AddedToken("<right> x", normalized=False), AddedToken("nw", single_word=True, normalized=True, rstrip=True)]
SPECIAL = [AddedToken("<s>", special=True, normalized=False), AddedToken("</s>", special=True, normalized=False, rstrip=True), AddedToken("<|eot|>", special=True, normalized=True)]


def train(corpus, size, pre_tokenizer, normalizer=None, byte_level=False, **options):
    size += (256 if byte_level else 0) + (256 if options.get("byte_fallback") else 0)
    tokenizer = Tokenizer(models.BPE(**{k: v for k, v in options.items() if k in ("unk_token", "byte_fallback", "fuse_unk", "ignore_merges", "continuing_subword_prefix", "end_of_word_suffix")}))
    if normalizer: tokenizer.normalizer = normalizer
    if pre_tokenizer: tokenizer.pre_tokenizer = pre_tokenizer
    first = ([options["unk_token"]] if options.get("unk_token") else []) + (BYTE_FALLBACK if options.get("byte_fallback") else [])
    extra = {k: options[k] for k in ("continuing_subword_prefix", "end_of_word_suffix") if options.get(k)}
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=first, show_progress=False, limit_alphabet=options.get("alphabet", 1000),
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()) if byte_level else [], **extra)
    tokenizer.train_from_iterator(corpus, trainer)
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = []  # the trainer's helpers are plain tokens of the model
    return data


def finish(data, added=(), post=None, decoder=None, merges_as_text=False, **changes):
    data = copy.deepcopy(data)
    data["model"].update(changes)
    if merges_as_text: data["model"]["merges"] = [" ".join(m) for m in data["model"]["merges"]]
    tokenizer = Tokenizer.from_str(json.dumps(data))
    tokenizer.add_special_tokens([t for t in added if t.special]); tokenizer.add_tokens([t for t in added if not t.special])
    if decoder: tokenizer.decoder = decoder
    out = json.loads(tokenizer.to_str())
    out["model"]["merges"] = data["model"]["merges"]
    if post: out["post_processor"] = post(tokenizer)
    return out


def template(tokenizer, text="<s> $A </s>"):
    ids = {t: tokenizer.token_to_id(t) for t in text.split() if t != "$A"}
    return json.loads(processors.TemplateProcessing(single=text, pair="$A $B", special_tokens=list(ids.items())).__getstate__())


def byte_level_then_template(tokenizer):
    return {"type": "Sequence", "processors": [{"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}, template(tokenizer, "<s> $A")]}


def roberta(tokenizer):
    return {"type": "RobertaProcessing", "sep": ["</s>", tokenizer.token_to_id("</s>")], "cls": ["<s>", tokenizer.token_to_id("<s>")], "trim_offsets": True, "add_prefix_space": False}


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(pattern if isinstance(pattern, str) else Regex(pattern[0]), behavior, invert)


def variants(corpus, size):
    """name -> tokenizer.json"""
    sequence, byte_level = pre_tokenizers.Sequence, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    all_added = SPECIAL + ADDED
    metaspace_decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    out = {}
    llama3 = train(corpus, size, sequence([split((LLAMA3,)), byte_level]), byte_level=True)
    out["llama3"] = finish(llama3, all_added, byte_level_then_template, decoders.ByteLevel(), ignore_merges=True)
    out["o200k"] = finish(train(corpus, size, sequence([split((O200K,)), byte_level]), byte_level=True), SPECIAL, template, decoders.ByteLevel())
    out["deepseek"] = finish(train(corpus, size, sequence([split((p,)) for p in DEEPSEEK] + [byte_level]), byte_level=True), SPECIAL, template, decoders.ByteLevel())
    out["neox"] = finish(train(corpus, size, pre_tokenizers.ByteLevel(add_prefix_space=True), normalizers.NFC(), byte_level=True), SPECIAL + [AddedToken("  ", normalized=False), AddedToken("    ", normalized=False)], roberta, decoders.ByteLevel(), merges_as_text=True)
    out["partial_bytes"] = finish(train(corpus, size, pre_tokenizers.ByteLevel(add_prefix_space=False), unk_token="<unk>", fuse_unk=True), SPECIAL, None, decoders.ByteLevel())
    mistral = dict(unk_token="<unk>", byte_fallback=True, fuse_unk=True, alphabet=60)
    for scheme in ("first", "always", "never"):
        pre = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=scheme == "always")
        out["metaspace_" + scheme] = finish(train(corpus, size, pre, **mistral), all_added, template, decoders.Metaspace(prepend_scheme=scheme) if scheme == "always" else metaspace_decoder)
    legacy = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    out["legacy"] = finish(train(corpus, size, split(" ", "merged_with_next"), legacy, **mistral), all_added, template, metaspace_decoder)
    out["legacy"]["pre_tokenizer"] = None
    crossing = train(corpus, size, None, legacy, **{**mistral, "fuse_unk": False})  # merges over U+2581
    out["crossing"] = finish(crossing, SPECIAL, template, metaspace_decoder)
    out["suffix"] = finish(train(corpus, size, pre_tokenizers.Whitespace(), normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]), unk_token="[UNK]", end_of_word_suffix="</w>", alphabet=50), all_added, None, decoders.BPEDecoder("</w>"))
    out["prefix"] = finish(train(corpus, size, sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("merged_with_previous"), pre_tokenizers.Digits(False)]), normalizers.NFKC(), unk_token="[UNK]", continuing_subword_prefix="##", alphabet=50), all_added)
    out["prefix_suffix_bytes"] = finish(train(corpus, size, pre_tokenizers.Whitespace(), unk_token="<unk>", continuing_subword_prefix="~", end_of_word_suffix="$", byte_fallback=True, alphabet=40), SPECIAL)
    for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
        pre = sequence([split((r"[\s\d]",), behavior), split("e", behavior), pre_tokenizers.Punctuation(behavior)])
        out["split_" + behavior] = finish(train(corpus, size, pre, normalizers.Strip(), unk_token="?", alphabet=60), SPECIAL)
    out["inverted"] = finish(train(corpus, size, sequence([split((r"\w+|[^\w\s]+",), "removed", True), pre_tokenizers.FixedLength(5)]), normalizers.Sequence([normalizers.Replace(Regex(r"\d+(?=\d)"), "#"), normalizers.NFD(), normalizers.Strip(True, False)]), unk_token="?", fuse_unk=True, alphabet=60), all_added)
    out["delimiter"] = finish(train(corpus, size, sequence([pre_tokenizers.CharDelimiterSplit("a"), pre_tokenizers.Digits(True), pre_tokenizers.Metaspace(prepend_scheme="first")]), unk_token="?", alphabet=60), all_added, None, decoders.Metaspace(prepend_scheme="first"))
    first = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    for name, normalizer in (("nfkd", normalizers.NFKD()), ("nfkc", normalizers.NFKC()), ("strip", normalizers.Strip()), ("replace", normalizers.Replace(Regex("^[a-z]"), "0a")), ("prepend", normalizers.Prepend("1")), ("lower", normalizers.Sequence([normalizers.Lowercase(), normalizers.StripAccents()]))):
        out["start_" + name] = finish(train(corpus, size, sequence([pre_tokenizers.Digits(True), first]), normalizer, unk_token="?", alphabet=60), SPECIAL)
    out["byte_normalizer"] = finish(train(corpus, size, split((r"[^Ġ]*Ġ?",)), normalizers.ByteLevel(), byte_level=True), SPECIAL, None, decoders.ByteLevel())
    regexes = {"possessive": r" ?+\p{L}++|\p{N}{2,3}+|(?>\s+)|.", "classes": r"[\p{L}&&[^\p{Lu}aeiou]]+|[[:upper:][:digit:]]+|[^\S\n]+|[\w&&\W]|[[:punct:]]+", "hex": r"\h+|\H", "words": r"\b\w+\b|\B.|\W",
               "lines": r"^.*$|(?m:.)", "options": r"a(?i)b+|[c-f]+|(?-i:G)|h{,2}i?|j{2}?", "lookbehind": r"(?<=[aeiou])[a-z]+|(?<! )[A-Z]|(?!x)\S", "scripts": r"\p{Han}+|\p{Hiragana}+|\p{Katakana}+|\p{Arabic}+|\p{Cyrillic}+|\p{^Latin}+|\p{Latin}+", "posix": r"[[:alpha:]]+|[[:space:]]+|[[:^print:]]+|[[:graph:]]", "newline": r"\R|\N+|\O"}
    for name, regex in regexes.items():
        out["regex_" + name] = finish(train(corpus, size, split((regex,)), unk_token="?", end_of_word_suffix="|", alphabet=80), [])
    return out


TEXTS = ["", " ", "  ", "a", "Hello world", " Hello  world ", "don't I'LL we'Re it'\u017f", "x  <plain>  y<left>z  <left> <right>  q <both> ", "word sword word_ word-word", "aword Norm norm NORM", "É t E\u0301 t é t", "<s>a</s>  b<|eot|>c", "<right> x<right>  x",
         "nw  nw nwx", "1234567 12 3.14", "a\n\nb\r\n c\t\td", "\u4e2d\u6587 \ud55c\uad6d\uc5b4 \u65e5\u672c\u8a9e\u30ab\u30bf\u3072\u3089", "\U0001F468\u200d\U0001F469\u200d\U0001F467 \U0001F937\U0001F3FD", "caf\u00e9 cafe\u0301 \u212b \ufb01 \u1e9b\u0323", "\u0130stanbul STRASSE \u1e9e \u03a3", "\u2581\u2581a \u2581", "<0x41> <0xE2>",
         "\u3000\u00a0\u2028x\u180e\u200b.", "a\u0300\u0316b \u0f71\u0f72", "x\u00b2 \u00bc_\u200d\u0301", "f(x)=[y+1]*{z}; // $5 ^~`|<>", "aaaaaaaaaaaaaaaaaaaaaaaaaaa", "ABCdefGHI jjj hhhi aBB", "\u0001\u007f\u0085", "\U0001F1E9\U0001F1EA \u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u0420\u0443\u0441"]
TINY = ["The quick brown fox jumps over the lazy dog.", "Hello world, hello again; don't you know it's 1234 or 5678?", "the then there these those", "def f(x):\n    return x + 1\n", "word words wordy Norm normal", "caf\u00e9 \u4e2d\u6587 na\u00efve"]


def golden(folder):
    head = json.dumps({"texts": TEXTS}, ensure_ascii=False, separators=(",", ":"))
    files = {"bytes": [head], "characters": [head]}
    for name, data in variants(TINY * 3, 90).items():
        tokenizer = Tokenizer.from_str(json.dumps(data))
        plain = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
        special = [tokenizer.encode(text, add_special_tokens=True).ids for text in TEXTS]
        text = [tokenizer.decode(ids, skip_special_tokens=False) for ids in special]
        skipped = [tokenizer.decode(ids, skip_special_tokens=True) for ids in special]
        entry = {"name": name, "plain": plain, "special": special if special != plain else None, "text": text,
                 "skipped": skipped if skipped != text else None, "tokenizer": data}
        files["bytes" if len(data["model"]["vocab"]) > 256 else "characters"].append(json.dumps(entry, ensure_ascii=False, separators=(",", ":")))
    for kind, lines in files.items():
        open(f"{folder}/tokenizer_{kind}.json", "w", encoding="utf-8").write("[\n" + ",\n".join(lines) + "\n]\n")


def directories(folder, text):
    corpus = open(text, encoding="utf-8").read().split("\n")[:4000]
    corpus += ["\u4e2d\u6587\u5b57 \ud55c\uad6d\uc5b4 caf\u00e9 na\u00efve \u0420\u0443\u0441\u0441\u043a\u0438\u0439"] * 5
    for name, data in variants(corpus, 1200).items():
        os.makedirs(f"{folder}/{name}", exist_ok=True)
        json.dump(data, open(f"{folder}/{name}/tokenizer.json", "w", encoding="utf-8"), ensure_ascii=False)


if len(sys.argv) == 3 and sys.argv[1] == "golden": golden(sys.argv[2])
elif len(sys.argv) == 4 and sys.argv[1] == "directories": directories(sys.argv[2], sys.argv[3])
else: sys.exit(__doc__)
