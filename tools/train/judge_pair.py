#!/usr/bin/env python3
"""What a pair is worth on held-out books, by the runtime: judge_pair.py --target DIR [--draft DIR] --text FILE...

Perplexity (triforce eval), facts found again 2K to 32K tokens back (triforce generate, greedily), acceptance of both levels
(triforce bench). Prints lines of a table, and writes all as JSON. Two pairs are compared by two calls with the same flags.
"""

import argparse
import json
import os
import random
import tempfile

import acceptance
import corpus
import facts
import input_error
from input_error import InputError

DEPTHS = (0.1, 0.5, 0.9)  # of the prompt, where the fact stands, from its beginning
ANSWER_TOKENS = 10


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--target", required=True, metavar="DIR")
    parser.add_argument("--draft", metavar="DIR", help="default: acceptance is left out")
    parser.add_argument("--text", required=True, nargs="+", metavar="FILE", help="books that the pair was not trained on")
    parser.add_argument("--perplexity-lengths", type=int, nargs="*", default=[2048, 8192, 28000], metavar="TOKENS")
    parser.add_argument("--fact-lengths", type=int, nargs="*", default=[2048, 4096, 8192, 16384, 32000], metavar="TOKENS")
    parser.add_argument("--facts", type=int, default=2, help="of each length, depth and text")
    parser.add_argument("--out", metavar="FILE", help="all of it as JSON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    acceptance.add_flags(parser)
    return parser.parse_args()


class Judge:
    def __init__(self, flags, folder):
        self._flags, self._folder = flags, folder
        self._triforce = acceptance.find_triforce(flags.triforce)
        processor = corpus.tokenizer(flags.target)
        self._encode = processor.encode
        self._texts = {}
        for path in flags.text:
            try:
                with open(path, encoding="utf-8") as file:
                    self._texts[path] = processor.encode(file.read())
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"{path}: {error}") from None
        with open(os.path.join(flags.target, "config.json"), encoding="utf-8") as file:
            self._bos = [json.load(file)["bos_token_id"]]

    def _run(self, command, ids, flags):
        """The stats of a command on some tokens."""
        paths = [os.path.join(self._folder, name) for name in ("ids.json", "stats.json")]
        with open(paths[0], "w", encoding="utf-8") as file:
            json.dump(ids, file)
        threads = ["--threads", str(self._flags.threads)] if self._flags.threads else []
        out = acceptance.run([self._triforce, command, "--model", self._flags.target, "--ids", paths[0], "--stats-json",
                              paths[1]] + flags + threads)
        with open(paths[1], encoding="utf-8") as file:
            return json.load(file), out

    def perplexity(self, length):
        """Of the first tokens of each text that has so many: {text: perplexity}."""
        found = {}
        for path, tokens in self._texts.items():
            if len(tokens) >= length:
                stats, _ = self._run("eval", self._bos + tokens[:length - 1], [])
                found[os.path.basename(path)] = stats["perplexity"]
        return found

    def fact_prompt(self, tokens, length, depth, chance):
        """Tokens, and the number that they ask for."""
        name, number = facts.draw_names(1, chance)[0], facts.draw_number(chance)
        stated, asked = self._encode(facts.statement(name, number)), self._encode(facts.question(name))
        room = length - 1 - len(stated) - len(asked)
        begin = chance.randrange(len(tokens) - room + 1)
        text, at = tokens[begin:begin + room], int(room * depth)
        return self._bos + text[:at] + stated + text[at:] + asked, number

    def facts_found(self, length):
        """{depth: [found, asked]}."""
        counts = {}
        chance = random.Random(self._flags.seed)
        for tokens in self._texts.values():
            for depth in DEPTHS:
                for _ in range(self._flags.facts if len(tokens) > length else 0):
                    ids, number = self.fact_prompt(tokens, length, depth, chance)
                    _, said = self._run("generate", ids, ["--predict", str(ANSWER_TOKENS), "--temp", "0", "--spec", "none",
                                                          "--no-display-prompt", "--ignore-eos"])
                    found = counts.setdefault(depth, [0, 0])
                    found[0] += said.strip().startswith(str(number))
                    found[1] += 1
        return counts


def main():
    flags = parse()
    report = {"target": flags.target, "draft": flags.draft, "texts": flags.text, "perplexity": {}, "facts": {}}
    with tempfile.TemporaryDirectory() as folder:
        judge = Judge(flags, folder)
        for length in flags.perplexity_lengths:
            report["perplexity"][length] = found = judge.perplexity(length)
            for text, value in found.items():
                print(f"perplexity of the first {length} tokens of {text}: {value:.2f}", flush=True)
        for length in flags.fact_lengths:
            report["facts"][length] = found = judge.facts_found(length)
            print(f"facts found in {length} tokens: " + ", ".join(f"{hits} of {asked} at depth {depth}" for depth, (
                hits, asked) in found.items()), flush=True)
    if flags.draft:
        options = acceptance.options_of(flags)
        report["acceptance"] = acceptance.measure(acceptance.find_triforce(flags.triforce), flags.target, flags.draft,
                                                  flags.text, options)
        print(acceptance.describe(report["acceptance"]))
    if flags.out:
        acceptance.write_report(report, flags.out)


if __name__ == "__main__":
    input_error.run(main)
