#!/usr/bin/env python3
"""Makes the demo pair from nothing: demo_pair.py target|draft --out DIR --text FILES --minutes N

The target (DIR/target) learns text in phases of growing length, the last ones with YaRN, and exercises in looking back; the draft
(DIR/draft) is distilled from it. Each goes on where it was stopped, and with another text where that is given: a shard at
a time, as memory, disks and patience allow. See docs/training.md.
"""

import argparse
import dataclasses
import os
import sys

import torch

import config
import corpus
import distill
import exercises
import facts
import input_error
import model_directory
import seeds
from input_error import InputError
from llama import Llama
from pretraining import Lesson, Phase, Pretraining
from training import Budget, Checkpoint, Log, Run, train

SHARES = (0.35, 0.65, 0.9, 1.0)  # of the budget, when the phases end
TOKENIZER = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../models/demo/target"))


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=("target", "draft"), help="target first; draft takes all of distill.py's flags")
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--text", required=True, nargs="+", metavar="FILE", help="texts in UTF-8, or tokens: .u16, .u16.xz")
    parser.add_argument("--minutes", type=distill.positive(float), help="of training, all runs together")
    parser.add_argument("--steps", type=distill.positive(int), help="instead of --minutes: so many steps")
    parser.add_argument("--stop-after", type=distill.positive(float), metavar="MINUTES")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=distill.positive(int))
    parser.add_argument("--tokenizer", metavar="DIR", default=TOKENIZER, help="model directory whose vocabulary it gets")
    parser.add_argument("--hidden", type=distill.positive(int), default=256)
    parser.add_argument("--layers", type=distill.positive(int), default=6)
    parser.add_argument("--heads", type=distill.positive(int), default=4)
    parser.add_argument("--ffn", type=distill.positive(int), default=704)
    parser.add_argument("--lengths", type=distill.positive(int), nargs=4, default=[512, 2048, 16384, 32768], metavar="TOKENS",
                        help="of rows, phase by phase")
    parser.add_argument("--original-positions", type=distill.positive(int), default=2048, help="longer rows have YaRN")
    parser.add_argument("--factor", type=distill.positive(float), default=64.0, help="YaRN's")
    parser.add_argument("--step-tokens", type=distill.positive(int), help="default: 4096, on a GPU 131072")
    parser.add_argument("--rate", type=distill.positive(float), default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--light", action="store_true", help="small checkpoints, for the way to another machine")
    flags = parser.parse_args(arguments)
    if (flags.minutes is None) == (flags.steps is None):
        parser.error("one of --minutes and --steps is needed")
    if min(flags.lengths) < exercises.CELL:
        parser.error(f"--lengths: expected {exercises.CELL} or more, the exercises' sentences need room")
    return flags


def yarn(flags):
    return config.Rope(type="yarn", factor=flags.factor, original_positions=flags.original_positions)


def shape_of(flags):
    """As it will be at the end; phases before YaRN put another RoPE in its place."""
    tokenizer = config.read(flags.tokenizer)
    return config.Shape(vocab=tokenizer.vocab, hidden=flags.hidden, ffn=flags.ffn, layers=flags.layers, heads=flags.heads,
                        kv_heads=flags.heads, head_dim=distill.HEAD_DIM,
                        max_positions=int(flags.original_positions * flags.factor), rms_norm_eps=1e-5, bos=tokenizer.bos,
                        eos=tokenizer.eos, rope=yarn(flags))


def phases_of(flags):
    return [Phase(until, tokens, yarn(flags) if tokens > flags.original_positions else config.Rope())
            for until, tokens in zip(SHARES, flags.lengths)]


def sentences_of(flags):
    """Facts in the tokenizer's own tokens: from a table, where it is the demo pair's."""
    if os.path.realpath(flags.tokenizer) == os.path.realpath(TOKENIZER):
        return facts.Facts()
    return facts.Facts(facts.table_of(corpus.tokenizer(flags.tokenizer).encode))


def train_target(flags):
    device = distill.device_of(flags)
    shape = shape_of(flags)
    text = corpus.open_corpus(flags.text, flags.tokenizer, shape)
    model = Llama(shape).initialise(seeds.number_of(flags.seed, seeds.WEIGHTS)).to(device)
    out = os.path.join(flags.out, "target")
    os.makedirs(out, exist_ok=True)
    log = Log(os.path.join(out, "log.jsonl"))
    log.say(f"target {model.parameter_count() / 1e6:.2f}M parameters; {text.tokens / 1e6:.2f}M tokens of text, "
            f"{len(text.held_out)} held out; {device.type}")
    step_tokens = flags.step_tokens or (131072 if device.type == "cuda" else 4096)
    lesson = Lesson(text, phases_of(flags), step_tokens, sentences_of(flags), flags.seed)
    job = Pretraining(model, lesson, device)
    settings = {"shape": dataclasses.asdict(shape), "lengths": flags.lengths, "step-tokens": step_tokens, "rate": flags.rate,
                "seed": flags.seed}
    checkpoint = Checkpoint(os.path.join(out, "training"), settings, flags.light)
    run = Run(Budget(flags.minutes, flags.steps), flags.rate, checkpoint, log, flags.stop_after)
    finished, interrupted = train(job, model, run)
    model_directory.save(out, model, torch.float16, flags.tokenizer)
    log.say(f"{out} holds the target" + ("" if finished else " as it is; the same command goes on"))
    return 130 if interrupted and not finished else 0


def draft_arguments(arguments):
    """distill.py's, of those behind "draft"."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--out", required=True)
    flags, rest = parser.parse_known_args(arguments)
    return ["--target", os.path.join(flags.out, "target"), "--out", os.path.join(flags.out, "draft")] + rest


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["draft"]:
        return distill.main(draft_arguments(arguments[1:]))
    return train_target(parse(arguments))


if __name__ == "__main__":
    input_error.run(main)
