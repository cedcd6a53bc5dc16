#!/usr/bin/env python3
"""How often a target accepts a draft's tokens, by `triforce bench`: acceptance.py --target DIR --draft DIR --text FILE...

Prompts are cut from the texts (FILE@N: from token N on); a draft proposes a fixed number of tokens for each verify pass. Prints
what was accepted of what was tested, and writes it as JSON with bench's own figures.
"""

import argparse
import json
import os
import subprocess
import tempfile

import input_error
from input_error import InputError

TRIFORCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bazel-bin", "tools", "triforce")
MODES = {"draft": ["draft"], "both": ["draft", "hierarchy"]}


def find_triforce(path=None):
    """The runtime's binary. Throws InputError, which says how to make one."""
    path = path or os.path.normpath(TRIFORCE)
    if not os.access(path, os.X_OK):
        raise InputError(f"{path}: is no program; build it (bazel build //tools:triforce), or give --triforce")
    return path


def run(command):
    """What a program prints. Throws InputError with what it says on stderr, where it fails."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise InputError(f"{' '.join(command)}: exit status {result.returncode}: {result.stderr.strip()[-2000:]}")
    return result.stdout


def bench_flags(options):
    flags = ["--contexts", ",".join(str(n) for n in options.contexts), "--predict", str(options.predict), "--seeds",
             str(options.seeds), "--gamma", str(options.gamma), "--temp", str(options.temp), "--top-p", str(options.top_p),
             "--warmup", "0"]
    if options.budget:
        flags += ["--budget", str(options.budget)]
    if options.threads:
        flags += ["--threads", str(options.threads)]
    return flags


def tests_of(bench):
    """{mode: {who proposed to whom: (accepted, tested)}}, over all runs: loops too, which bench leaves out of its tables."""
    sums = {}
    for turn in bench["runs"]:
        for level in turn["levels"]:
            key = level["proposer"] + (" to " + level["verifier"] if level.get("verifier") else "")
            counts = sums.setdefault(turn["configuration"], {}).setdefault(key, [0, 0])
            counts[0] += level["accepted"]
            counts[1] += level["tested"]
    return sums


def measure(triforce, target, draft, texts, options):
    """The report, a dictionary. Throws InputError."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "bench.json")
        command = [triforce, "bench", "--model", target, "--draft-model", draft, "--modes",
                   ",".join(MODES[options.levels]), "--json", path]
        for text in texts:
            command += ["--file", text]
        run(command + bench_flags(options))
        with open(path, encoding="utf-8") as file:
            bench = json.load(file)
    modes = {}
    for mode, levels in tests_of(bench).items():
        modes[mode] = {key: {"accepted": accepted, "tested": tested, "acceptance": accepted / tested if tested else None}
                       for key, (accepted, tested) in levels.items()}
    return {"target": target, "draft": draft, "texts": texts, "settings": vars(options), "modes": modes,
            "date": bench["date"], "machine": bench["machine"], "command": bench["command"], "rows": bench["rows"]}


def describe(report):
    lines = []
    for mode, levels in report["modes"].items():
        for who, counts in levels.items():
            if counts["tested"]:
                lines.append(f"{mode}: {who}: accepted {counts['acceptance']:.3f} ({counts['accepted']}/{counts['tested']})")
    return "\n".join(lines) or "nothing was tested"


def add_flags(parser):
    group = parser.add_argument_group("report of acceptance, by triforce bench")
    group.add_argument("--contexts", type=int, nargs="+", default=[1024], help="tokens of the prompts")
    group.add_argument("--predict", type=int, default=128, help="tokens of each continuation")
    group.add_argument("--seeds", type=int, default=4, help="continuations of each prompt")
    group.add_argument("--gamma", type=int, default=4, help="tokens proposed for each verify pass")
    group.add_argument("--temp", type=float, default=0.6)
    group.add_argument("--top-p", type=float, default=0.9)
    group.add_argument("--levels", choices=sorted(MODES), default="draft",
                       help="the draft alone, or also in the hierarchy, with the retrieval cache between")
    group.add_argument("--budget", type=int, help="tokens of the retrieval cache; default: bench's")
    group.add_argument("--triforce", metavar="FILE", help="the runtime's binary; default: bazel-bin/tools/triforce")


OPTIONS = ("contexts", "predict", "seeds", "gamma", "temp", "top_p", "levels", "budget", "threads")


def options_of(flags):
    """Of parsed flags those that a measurement looks at."""
    return argparse.Namespace(**{name: getattr(flags, name) for name in OPTIONS})


def write_report(report, path):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(report, file, indent=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--target", required=True, metavar="DIR")
    parser.add_argument("--draft", required=True, metavar="DIR")
    parser.add_argument("--text", required=True, nargs="+", metavar="FILE[@TOKEN]")
    parser.add_argument("--out", metavar="FILE", help="the report as JSON")
    parser.add_argument("--threads", type=int)
    add_flags(parser)
    flags = parser.parse_args()
    report = measure(find_triforce(flags.triforce), flags.target, flags.draft, flags.text, options_of(flags))
    print(describe(report))
    if flags.out:
        write_report(report, flags.out)


if __name__ == "__main__":
    input_error.run(main)
