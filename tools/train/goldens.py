#!/usr/bin/env python3
"""Golden files of a pair, by Hugging Face transformers in f32: goldens.py --pair DIR --text FILE --out DIR

DIR/target and DIR/draft as models/demo has them; the files as tests/data/demo/README.md says. Needs transformers, safetensors
and sentencepiece. With --check FOLDER nothing is written: the golden files there are compared with what comes out now.
"""

import argparse
import json
import os

import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

import corpus
import input_error
from input_error import InputError

SETS = (("target", 64, 64), ("target", 1500, 64), ("target", 4096, 48), ("target", 12000, 32), ("target", 28000, 32),
        ("draft", 64, 64), ("draft", 1500, 64))  # model, tokens, tokens of the continuation
LAST = 8  # positions whose logits are kept
LONGEST_LOSS = 4096  # tokens over which the mean log-likelihood is computed
FIRST_CHARACTER = 3000  # of the text, in the midst of a word
STRINGS = ("Hello, world!", "  leading spaces", "tabs\tand\nnew lines\n\n",
           "na\u00efve caf\u00e9 \u2014 \u201cquotes\u201d \u2026", "\u65e5\u672c\u8a9e and \U0001f642\U0001f680",
           "12345 67,890.12", "don't", "a" * 40, "\ufb01 ligature", "\u00a0odd\u200bspace", "")
LOGIT_TOLERANCE = 1e-4  # of the largest logit, f32's sums in another order
SURE_MARGIN = 0.01  # below it another correct implementation may choose another token


@torch.no_grad()
def golden(model, tokens, greedy_tokens):
    ids = torch.tensor([tokens])
    keep = len(tokens) if len(tokens) <= LONGEST_LOSS else LAST
    out = model(ids, use_cache=True, logits_to_keep=keep)
    logits, cache = out.logits[0].float(), out.past_key_values
    loss = None
    if keep == len(tokens):
        loss = float(torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:]))
    greedy, margins, last = [], [], logits[-1]
    for _ in range(greedy_tokens):
        best = last.topk(2)
        greedy.append(int(best.indices[0]))
        margins.append(float(best.values[0] - best.values[1]))
        out = model(torch.tensor([greedy[-1:]]), past_key_values=cache, use_cache=True)
        last, cache = out.logits[0, -1].float(), out.past_key_values
    return {"input_ids": ids[0], "last_logits": logits[-LAST:].contiguous(), "greedy": torch.tensor(greedy),
            "margins": torch.tensor(margins)}, loss


def compare(name, found, path):
    """A line on how `found` stands to the file; raises InputError where they differ by more than f32 explains."""
    kept = load_file(path)
    if not torch.equal(found["input_ids"], kept["input_ids"]):
        raise InputError(f"{path}: has other input_ids")
    difference = float((found["last_logits"] - kept["last_logits"]).abs().max() / kept["last_logits"].abs().max())
    unsure = (kept["margins"] < SURE_MARGIN).nonzero()
    sure = int(unsure[0]) if len(unsure) else len(kept["margins"])
    if difference > LOGIT_TOLERANCE or not torch.equal(found["greedy"][:sure], kept["greedy"][:sure]):
        raise InputError(f"{path}: logits differ by {difference:.1e} of the largest, or the first {sure} greedy tokens do")
    return f"{name}: logits within {difference:.1e} of the largest, {sure} greedy tokens equal"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pair", required=True, metavar="DIR")
    parser.add_argument("--text", required=True, metavar="FILE")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", metavar="DIR")
    where.add_argument("--check", metavar="DIR")
    parser.add_argument("--most-tokens", type=int, default=1 << 30, help="leave longer ones out")
    parser.add_argument("--threads", type=int)
    flags = parser.parse_args()
    if flags.threads:
        torch.set_num_threads(flags.threads)
    processor = corpus.tokenizer(os.path.join(flags.pair, "target"))
    with open(flags.text, encoding="utf-8") as file:
        text = [processor.bos_id()] + processor.encode(file.read()[FIRST_CHARACTER:])
    losses, models = {}, {}
    for kind, tokens, greedy_tokens in SETS:
        name = f"{kind}-{tokens}"
        if tokens > flags.most_tokens:
            continue
        if kind not in models:
            models[kind] = LlamaForCausalLM.from_pretrained(os.path.join(flags.pair, kind), dtype=torch.float32).eval()
        found, losses[name] = golden(models[kind], text[:tokens], greedy_tokens)
        if flags.check:
            print(compare(name, found, os.path.join(flags.check, name + ".safetensors")), flush=True)
        else:
            os.makedirs(flags.out, exist_ok=True)
            save_file(found, os.path.join(flags.out, name + ".safetensors"))
            print(f"{name}: mean loss {losses[name]}", flush=True)
    if flags.out:
        with open(os.path.join(flags.out, "goldens.json"), "w", encoding="utf-8") as file:
            strings = [[string, processor.encode(string)] for string in STRINGS]
            json.dump({"nll": losses, "tokenizer": strings}, file, ensure_ascii=False, indent=1)


if __name__ == "__main__":
    input_error.run(main)
