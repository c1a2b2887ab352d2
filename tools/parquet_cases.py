#!/usr/bin/env python3
"""Parquet files as the hub's writers make them, each with the same rows as JSON lines.

  parquet_cases.py golden tests/datasets/golden/parquet      the committed ones, small
  parquet_cases.py differential FOLDER PROGRAM [COUNT]       random ones; PROGRAM FILE prints a file's rows as JSON lines

pyarrow writes and says what the rows are; the program's reader must agree. Needs pyarrow (26.0.1 made the golden files).
"""
import json
import pathlib
import random
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq

TEXTS = ["", "a", "Ünï", "two\nlines", "\u0000", "tab\t\"quote\"", "\U0001f600 smile", "the same", "the same", "x" * 300]


def hub_rows():
    """Schemas of the hub's data sets: ARC's and TruthfulQA's structs of lists, MMLU's list, PIQA's plain columns."""
    strings = pa.list_(pa.string())
    arc = pa.schema([("id", pa.string()), ("question", pa.string()),
                     ("choices", pa.struct([("text", strings), ("label", strings)])), ("answerKey", pa.string())])
    arc_rows = [{"id": f"q{i}", "question": f"Which of {i}?", "answerKey": "ABCD"[i % 4],
                 "choices": {"text": [f"choice {i}.{k}" for k in range(3 + i % 3)], "label": list("ABCDE")[:3 + i % 3]}}
                for i in range(7)]
    targets = pa.struct([("choices", strings), ("labels", pa.list_(pa.int32()))])
    truthful = pa.schema([("question", pa.string()), ("mc1_targets", targets), ("mc2_targets", targets)])
    truthful_rows = [{"question": f"What if {i}?", "mc1_targets": {"choices": ["yes", "no"], "labels": [1, 0]},
                      "mc2_targets": {"choices": [f"c{k}" for k in range(i + 1)], "labels": [k % 2 for k in range(i + 1)]}}
                     for i in range(5)]
    mmlu = pa.schema([("question", pa.string()), ("subject", pa.string()), ("choices", strings), ("answer", pa.int64())])
    mmlu_rows = [{"question": f"{i} + {i}?", "subject": "arithmetic" if i < 6 else "logic",
                  "choices": [str(2 * i + k) for k in range(4)], "answer": i % 4} for i in range(9)]
    piqa = pa.schema([("goal", pa.string()), ("sol1", pa.string()), ("sol2", pa.string()), ("label", pa.int64())])
    piqa_rows = [{"goal": f"goal {i}", "sol1": f"one {i}", "sol2": f"two {i}", "label": i % 2} for i in range(6)]
    text = pa.schema([("text", pa.string()), ("meta", pa.struct([("pile_set_name", pa.string())]))])
    text_rows = [{"text": f"document {i} " + t, "meta": {"pile_set_name": "Wiki"}} for i, t in enumerate(TEXTS)]
    nulls = pa.schema([("a", pa.string()), ("b", pa.list_(pa.int64())), ("c", pa.struct([("d", pa.float64()), ("e", strings)])),
                       ("f", pa.bool_()), ("g", pa.list_(pa.list_(pa.string()))), ("h", pa.list_(pa.struct([("i", pa.int32())])))])
    null_rows = [
        {"a": None, "b": None, "c": None, "f": None, "g": None, "h": None},
        {"a": "", "b": [], "c": {"d": None, "e": None}, "f": False, "g": [], "h": []},
        {"a": "x", "b": [None], "c": {"d": 0.5, "e": []}, "f": True, "g": [None, []], "h": [None]},
        {"a": "y", "b": [1, None, -3], "c": {"d": -1e300, "e": ["p", None]}, "f": None, "g": [["a"], [], [None, "b"]],
         "h": [{"i": None}, {"i": -7}]}]
    return {"arc": (arc, arc_rows), "truthfulqa": (truthful, truthful_rows), "mmlu": (mmlu, mmlu_rows),
            "piqa": (piqa, piqa_rows), "corpus": (text, text_rows), "nulls": (nulls, null_rows)}


def write(path, schema, rows, **options):
    table = pa.Table.from_pylist(rows, schema)
    pq.write_table(table, path, **options)
    # Not read back: pyarrow 26.0.1 refuses some nested files of its own with small pages of version 2.
    with open(path.with_suffix(".jsonl"), "w", encoding="utf-8") as out:
        for row in table.to_pylist():
            out.write(json.dumps(plain(row), ensure_ascii=False) + "\n")


def plain(value):
    """Maps come as lists of pairs, times as Python's; the reader gives {"key", "value"} and the stored integers."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [{"key": plain(v[0]), "value": plain(v[1])} if isinstance(v, tuple) else plain(v) for v in value]
    return value


def golden(folder):
    folder.mkdir(parents=True, exist_ok=True)
    options = {"arc": {"compression": "snappy"}, "truthfulqa": {"compression": "zstd", "row_group_size": 2},
               "mmlu": {"compression": "gzip", "row_group_size": 4},
               "piqa": {"compression": "none", "use_dictionary": False, "data_page_version": "2.0"},
               "corpus": {"compression": "zstd", "use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"},
                          "write_page_checksum": True},
               "nulls": {"compression": "snappy", "data_page_version": "2.0", "row_group_size": 3}}
    for name, (schema, rows) in hub_rows().items():
        write(folder / f"{name}.parquet", schema, rows, **options[name])


def random_type(rng, depth):
    kinds = ["string", "large_string", "int8", "int32", "int64", "uint8", "uint32", "uint64", "float32", "float64", "bool"]
    if depth < 3:
        kinds += ["list", "list", "struct", "struct", "map"]
    kind = rng.choice(kinds)
    if kind == "list":
        return pa.list_(random_type(rng, depth + 1))
    if kind == "struct":
        return pa.struct([(f"f{i}", random_type(rng, depth + 1)) for i in range(rng.randint(1, 3))])
    if kind == "map":
        return pa.map_(pa.string(), random_type(rng, depth + 1))
    return {"float32": pa.float32(), "float64": pa.float64(), "bool": pa.bool_()}.get(kind) or getattr(pa, kind)()


def random_value(rng, kind, nulls):
    if rng.random() < nulls:
        return None
    if pa.types.is_list(kind):
        return [random_value(rng, kind.value_type, nulls) for _ in range(rng.choice([0, 1, 1, 2, 3, 9]))]
    if pa.types.is_struct(kind):
        return {f.name: random_value(rng, f.type, nulls) for f in kind}
    if pa.types.is_map(kind):
        return [(f"k{i}", random_value(rng, kind.item_type, nulls)) for i in range(rng.randint(0, 3))]
    if pa.types.is_boolean(kind):
        return rng.random() < 0.5
    if pa.types.is_floating(kind):
        return float(rng.choice([0, 1.5, -2.25, 3e20, rng.random() if kind.bit_width == 64 else 0.125]))
    if pa.types.is_integer(kind):
        bits = kind.bit_width
        low, high = (0, 2**bits - 1) if pa.types.is_unsigned_integer(kind) else (-2**(bits - 1), 2**(bits - 1) - 1)
        return rng.choice([low, high, 0, 1, rng.randint(low, high), rng.randint(0, 20)])
    return rng.choice(TEXTS)


def differential(folder, program, count):
    folder.mkdir(parents=True, exist_ok=True)
    delta = {"string": ["DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"], "int32": ["DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"],
             "int64": ["DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"], "double": ["BYTE_STREAM_SPLIT"], "bool": ["RLE"]}
    for seed in range(count):
        rng = random.Random(seed)
        schema = pa.schema([pa.field(f"c{i}", random_type(rng, 0), nullable=rng.random() < 0.8) for i in range(rng.randint(1, 5))])
        rows = []
        for _ in range(rng.choice([0, 1, 5, 100, 3000])):
            rows.append({f.name: random_value(rng, f.type, rng.choice([0, 0.1, 0.6])) for f in schema})
        for f in schema:
            if not f.nullable:
                for row in rows:
                    while row[f.name] is None:
                        row[f.name] = random_value(rng, f.type, 0)
        encodings = {f.name: rng.choice(delta[str(f.type)]) for f in schema if str(f.type) in delta and rng.random() < 0.6}
        path = folder / f"{seed}.parquet"
        write(path, schema, rows, compression=rng.choice(["none", "snappy", "gzip", "zstd"]),
              use_dictionary=False if encodings else rng.random() < 0.7, column_encoding=encodings or None,
              data_page_version=rng.choice(["1.0", "2.0"]), data_page_size=rng.choice([64, 1000, 1 << 20]),
              row_group_size=rng.choice([3, 70, 1 << 20]), write_page_checksum=rng.random() < 0.3,
              use_compliant_nested_type=rng.random() < 0.8)
        expected = [json.loads(line) for line in open(path.with_suffix(".jsonl"), encoding="utf-8")]
        ran = subprocess.run([program, path], capture_output=True, text=True, check=False)
        if ran.returncode != 0 or ran.stdout.startswith("ERROR") or \
                [json.loads(line) for line in ran.stdout.split("\n")[:-1]] != expected:
            sys.exit(f"{path} differs: {schema}\n{encodings}\n{ran.stdout[:300]}{ran.stderr[:300]}")
        path.unlink()
        path.with_suffix(".jsonl").unlink()
    print(count, "files agree")


if __name__ == "__main__":
    if sys.argv[1:2] == ["golden"] and len(sys.argv) == 3:
        golden(pathlib.Path(sys.argv[2]))
    elif sys.argv[1:2] == ["differential"] and len(sys.argv) in (4, 5):
        differential(pathlib.Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]) if len(sys.argv) == 5 else 200)
    else:
        sys.exit(__doc__)
