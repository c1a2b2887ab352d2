"""What the comparisons share: of quantizers (llmcompressor_speed.py, signround_speed.py) tokens, perplexity and start of the peer's side; of evaluations
(perplexity_speed.py, task_speed.py) two programs that hold a model and answer by turns."""
import json
import math
import os
import resource
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")


class Side:
    """A program that answers each line on stdin with a line of JSON."""

    def __init__(self, command):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.errors = tempfile.TemporaryFile("w+")  # not a pipe: nobody reads while the program works
        self.process = subprocess.Popen(command, stderr=self.errors, text=True, **pipes)

    def ask(self, command):
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.errors.seek(0)
            sys.exit(f"{self.process.args[0]} ended: {self.errors.read().strip()[-1500:]}")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def forget_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def peak_mib():
    """The highest resident memory since forget_peak()."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) // 1024 for line in file if line.startswith("VmHWM"))


def add_paths(p):
    """The options that every comparison has, on an argparse parser."""
    p.add_argument("--model", required=True)
    p.add_argument("--calibration", required=True)
    p.add_argument("--text", required=True)
    p.add_argument("--program", default=os.path.join(ROOT, "build/harness"))


def ids_of(directory, text, count):
    from transformers import AutoTokenizer

    raw = open(text, encoding="utf-8", newline="").read(20 * count)
    return AutoTokenizer.from_pretrained(directory)(raw, return_tensors="pt", add_special_tokens=False).input_ids[0, :count]


def perplexity(model, a):
    """Of a transformers model in float32, on a.windows windows of a.window tokens from a.text's start."""
    import torch

    x = ids_of(a.model, a.text, a.window * a.windows).view(a.windows, a.window)
    total = 0.0
    with torch.inference_mode():
        for row in x:
            logits = model(row[None]).logits[0, :-1].float()
            total += torch.nn.functional.cross_entropy(logits, row[1:], reduction="sum").item()
    return math.exp(total / (x.numel() - a.windows))


def ours(a, method, settings):
    """{seconds, perplexity, processor_seconds of the whole program} of `harness eval` with this method ("preset: gptq"); settings: its steps' options, {"gptq.static_groups": "true"}."""
    weights = {"bits": a.bits, "group_size": a.group_size, "symmetric": "false"}
    assignments = [f"quantization.weights.{key}={value}" for key, value in weights.items()]
    assignments += [f"methods.{key}={value}" for key, value in settings.items()]
    command = [
        a.program, "eval", "--model", a.model, "--method", "rtn", "--set", f"methods=[{{{method}}}]", "--calibration", a.calibration,
        "--samples", str(a.samples), "--length", str(a.length), "--text", a.text, "--window", str(a.window),
        "--windows", str(a.windows), "--threads", str(a.threads), "--json",
    ]  # fmt: skip
    for assignment in assignments:
        command += ["--set", assignment]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": result["quantization_seconds"], "perplexity": result["metrics"]["perplexity"], "processor_seconds": processor}


def peer_python(package):
    return os.environ.get("PEER") or sys.exit(f"PEER must name a Python that has {package}")


def theirs(a, python):
    """The running script again with --peer, by the peer's Python; what it prints last, as JSON."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(a.threads), HF_HUB_OFFLINE="1")
    with tempfile.TemporaryDirectory() as folder:  # the peer leaves files where it runs
        command = [python, os.path.abspath(sys.argv[0]), "--peer", *sys.argv[1:]]
        for i, word in enumerate(command):
            if os.path.exists(word):
                command[i] = os.path.abspath(word)
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=folder)
    if done.returncode:
        sys.exit(f"the peer failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
