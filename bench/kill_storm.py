#!/usr/bin/env python3
"""Kills runs at random moments, resumes them, and compares the end with an undisturbed run.

  source build/env.sh; bench/kill_storm.py experiments/quickstart.yaml --kills 40

SIGKILL hits mpirun or one of the ranks, each as likely; the next run starts at once, on the same database. When one is through, its
database is compared and a new one begun, until there were enough kills; the last is then let through. What must be equal to the
undisturbed run, which has another number of ranks: the CSV report, every metric, every document's score, average bits, digests of artifacts,
layer metrics but seconds and statistics (what was done, twice where a kill made it be done twice); PRAGMA integrity_check must say ok, and no file
of a dead run may stay in the artifacts folder. A run that outlives a killed member by --patience seconds hangs: failure. stdout: one JSON
object; exit code 0 when all is equal.
"""
import argparse
import collections
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
CONTENTS = {
    "metrics": "SELECT c.key, m.name, m.value, m.stderr, m.count FROM latest_cell c JOIN metric m ON m.cell = c.id ORDER BY 1, 2",
    "scores": "SELECT c.key, s.name, s.document, s.value FROM latest_cell c JOIN document_score s ON s.cell = c.id ORDER BY 1, 2, 3",
    "cells": "SELECT key, status, error, average_bits, checkpoint_digest, calibration_digest, evaluation_digest FROM latest_cell ORDER BY 1",
    "artifacts": "SELECT q.key, a.digest, q.average_bits FROM latest_quantization q JOIN artifact a ON a.quantization = q.id ORDER BY 1",
    "layers": "SELECT q.key, l.layer, l.name, l.step, l.value FROM latest_quantization q JOIN layer_metric l ON l.quantization = q.id "
    "WHERE l.name NOT IN ('seconds', 'statistics') ORDER BY 1, 2, 3, 4",
}


def contents(a, database):
    command = [a.program, "report", a.experiment, "--db", database, "--format", "csv"]
    result = {"report": subprocess.run(command, check=True, capture_output=True, text=True).stdout}
    db = sqlite3.connect(database)
    for name, query in CONTENTS.items():
        result[name] = db.execute(query).fetchall()
    result["integrity"] = db.execute("PRAGMA integrity_check").fetchall()
    folder = database[: -len(".db")] + ".artifacts"
    known = {row[0] for row in db.execute("SELECT file FROM artifact")}
    result["left over"] = sorted(name for name in os.listdir(folder) if name not in known)
    return result


def start(a, ranks, database):
    return subprocess.Popen(["mpirun", "-n", str(ranks), a.program, "run", a.experiment, "--db", database, "--quiet"],
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # fmt: skip


def members(mpirun):
    """Who can be hit: {name: pid}."""
    found = {"mpirun": mpirun.pid}
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(mpirun.pid)], capture_output=True, text=True).stdout
    for pid in map(int, children.split()):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                variables = dict(v.split(b"=", 1) for v in file.read().split(b"\0") if b"=" in v)
            found["rank " + variables[b"OMPI_COMM_WORLD_RANK"].decode()] = pid
        except (OSError, KeyError):
            continue  # gone, or not a rank yet
    return found


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("experiment")
    p.add_argument("--kills", type=int, default=40)
    p.add_argument("--ranks", type=int, default=2)
    p.add_argument("--least", type=float, default=0.2, help="seconds before a kill, at least")
    p.add_argument("--most", type=float, default=8.0)
    p.add_argument("--patience", type=float, default=15.0)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--program", default=os.path.join(ROOT, "build/harness"))
    a = p.parse_args()
    rng = random.Random(a.seed)
    victims, slowest, finished, different = collections.Counter(), collections.Counter(), 0, []
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        whole = start(a, 1, os.path.join(folder, "undisturbed.db"))
        error = whole.communicate()[1]
        if whole.returncode:
            sys.exit("the undisturbed run failed: " + error[-1000:])
        print(f"undisturbed, 1 rank: {time.perf_counter() - begin:.1f} s", file=sys.stderr)
        expected = contents(a, os.path.join(folder, "undisturbed.db"))
        if expected["integrity"] != [("ok",)] or not expected["artifacts"] or expected["left over"]:
            sys.exit("the undisturbed run is not as it should be")
        while sum(victims.values()) < a.kills:
            database, starts = os.path.join(folder, f"killed-{finished}.db"), 0
            while True:
                run, starts = start(a, a.ranks, database), starts + 1
                try:
                    enough = sum(victims.values()) >= a.kills
                    error = run.communicate(timeout=None if enough else rng.uniform(a.least, a.most))[1]
                    if run.returncode:
                        sys.exit(f"start {starts} ended with {run.returncode}: {error[-1000:]}")
                    break
                except subprocess.TimeoutExpired:
                    name, pid = rng.choice(sorted(members(run).items()))
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        continue
                    victims[name] += 1
                    hit = time.perf_counter()
                    try:
                        run.communicate(timeout=a.patience)
                    except subprocess.TimeoutExpired:
                        sys.exit(f"hangs {a.patience} s after {name} was killed")
                    slowest[name] = max(slowest[name], round(time.perf_counter() - hit, 2))
            got = contents(a, database)
            different += [f"run {finished}: {what}" for what in expected if got[what] != expected[what]]
            finished += 1
            print(f"run {finished - 1}: {starts} starts, {sum(victims.values())} kills so far, different: {different}", file=sys.stderr)
    print(json.dumps({"kills": sum(victims.values()), "victims": dict(sorted(victims.items())), "runs_finished": finished,
                      "slowest_end_after": dict(sorted(slowest.items())), "different": different}, indent=1))  # fmt: skip
    sys.exit(bool(different))


main()
