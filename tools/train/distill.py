#!/usr/bin/env python3
"""Makes a draft for a target: distill.py --target DIR --out DIR --text FILES --minutes N

A small Llama model with the target's vocabulary learns the target's laws, on text and on what the target itself says, seeing
what the runtime's streaming cache will let it see. The same command goes on where it was stopped. See docs/training.md.
"""

import argparse
import dataclasses
import os

import torch

import acceptance
import config
import corpus
import input_error
import model_directory
import seeds
from distillation import Distillation, Rows
from input_error import InputError
from llama import Llama
from training import Budget, Checkpoint, Log, Run, train

DTYPES = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32}
HELD_OUT_PROMPTS = 4


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--target", required=True, metavar="DIR", help="model directory, with tokenizer.model")
    parser.add_argument("--out", required=True, metavar="DIR", help="model directory to make; DIR/training goes on from there")
    parser.add_argument("--text", required=True, nargs="+", metavar="FILE", help="texts in UTF-8, or tokens: .u16, .u16.xz")
    add_training_flags(parser)
    parser.add_argument("--held-out", nargs="+", metavar="FILE[@TOKEN]", help="texts for the report; default: what of --text "
                        "is held out")
    parser.add_argument("--no-report", action="store_true", help="do not measure acceptance at the end")
    acceptance.add_flags(parser)
    flags = parser.parse_args(arguments)
    if (flags.minutes is None) == (flags.steps is None):
        parser.error("one of --minutes and --steps is needed")
    if not 0 <= flags.own_share <= 1:
        parser.error("--own-share: expected 0 to 1")
    return flags


def positive(kind):
    def parse_value(text):
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError("expected more than 0")
        return value
    return parse_value


def add_training_flags(parser):
    parser.add_argument("--minutes", type=positive(float), help="of training, all runs together")
    parser.add_argument("--steps", type=positive(int), help="instead of --minutes: so many steps")
    parser.add_argument("--stop-after", type=positive(float), metavar="MINUTES", help="end this run by then; the same command "
                        "goes on")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=positive(int))
    size = parser.add_argument_group("the draft's size")
    size.add_argument("--hidden", type=positive(int), default=128)
    size.add_argument("--layers", type=positive(int), default=2)
    size.add_argument("--heads", type=positive(int), help="of 64 features; default: hidden / 64")
    size.add_argument("--ffn", type=positive(int), help="default: 11/4 of hidden")
    size.add_argument("--init", metavar="DIR", help="begin with this draft's weights; its size counts")
    size.add_argument("--dtype", choices=sorted(DTYPES), default="f16", help="of the weights that are written")
    training = parser.add_argument_group("training")
    training.add_argument("--context", type=positive(int), default=512, help="tokens of a row")
    training.add_argument("--batch", type=positive(int), help="rows of a step; default: 8, on a GPU 64")
    training.add_argument("--own-share", type=float, default=0.25, help="of the rows, that the target continues itself")
    training.add_argument("--rate", type=positive(float), default=3e-3, help="the highest learning rate")
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--light", action="store_true", help="small checkpoints, for the way to another machine")


HEAD_DIM = 64


def draft_shape(target, flags):
    """Of the target only the vocabulary and RoPE's base: a window of 256 tokens needs no scaling."""
    heads = flags.heads or max(1, flags.hidden // HEAD_DIM)
    ffn = flags.ffn or flags.hidden * 11 // 4
    return config.Shape(vocab=target.vocab, hidden=flags.hidden, ffn=ffn, layers=flags.layers, heads=heads, kv_heads=heads,
                        head_dim=HEAD_DIM, max_positions=2048, rms_norm_eps=1e-5, bos=target.bos, eos=target.eos,
                        rope=config.Rope(theta=target.rope.theta))


def new_draft(target_shape, flags):
    if flags.init is None:
        return Llama(draft_shape(target_shape, flags)).initialise(seeds.number_of(flags.seed, seeds.WEIGHTS))
    draft = model_directory.load(flags.init)
    if draft.shape.vocab != target_shape.vocab:
        raise InputError(f"{flags.init}: has a vocabulary of {draft.shape.vocab}, the target one of {target_shape.vocab}")
    return draft


def settings(flags, shape, batch):
    """What a checkpoint must have been made with to go on from it."""
    return {"target": os.path.basename(os.path.normpath(flags.target)), "shape": dataclasses.asdict(shape), "context":
            flags.context, "batch": batch, "own-share": flags.own_share, "rate": flags.rate, "seed": flags.seed}


def device_of(flags):
    if flags.threads:
        torch.set_num_threads(flags.threads)
    if flags.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch finds no GPU here; give --device cpu")
    return torch.device(flags.device)


def report(flags, text, log):
    """acceptance.json beside the model, or a word on why there is none."""
    try:
        triforce = acceptance.find_triforce(flags.triforce)
        texts = flags.held_out or held_out_prompts(flags, text)
        found = acceptance.measure(triforce, flags.target, flags.out, texts, acceptance.options_of(flags))
    except InputError as error:
        log.say(f"no report of acceptance: {error}")
        log.say(f"Make one with tools/train/acceptance.py --target {flags.target} --draft {flags.out} --text FILE")
        return
    acceptance.write_report(found, os.path.join(flags.out, "acceptance.json"))
    log.say(acceptance.describe(found))


def held_out_prompts(flags, text):
    """held_out.txt beside the model, and places in it."""
    processor = corpus.tokenizer(flags.target)
    path = os.path.join(flags.out, "held_out.txt")
    with open(path, "w", encoding="utf-8") as file:
        file.write(processor.decode(text.held_out.tolist()))
    needed = max(flags.contexts)
    with open(path, encoding="utf-8") as file:
        room = len(processor.encode(file.read())) - needed
    if room < 0:
        raise InputError(f"{path}: what is held out of --text is shorter than --contexts, {needed} tokens; give --held-out")
    return [f"{path}@{room * i // HELD_OUT_PROMPTS}" for i in range(min(HELD_OUT_PROMPTS, 1 + room))]


def main(arguments=None):
    flags = parse(arguments)
    device = device_of(flags)
    target = model_directory.load(flags.target, torch.bfloat16 if device.type == "cuda" else torch.float32)
    target.requires_grad_(False).to(device)
    text = corpus.open_corpus(flags.text, flags.target, target.shape)
    draft = new_draft(target.shape, flags).to(device)
    batch = flags.batch or (64 if device.type == "cuda" else 8)
    os.makedirs(flags.out, exist_ok=True)
    log = Log(os.path.join(flags.out, "log.jsonl"))
    log.say(f"target {target.parameter_count() / 1e6:.2f}M parameters, draft {draft.parameter_count() / 1e6:.2f}M; "
            f"{text.tokens / 1e6:.2f}M tokens of text, {len(text.held_out)} held out; {device.type}")
    job = Distillation(target, draft, text, Rows(batch, flags.context, flags.own_share, flags.seed), device)
    checkpoint = Checkpoint(os.path.join(flags.out, "training"), settings(flags, draft.shape, batch), flags.light)
    run = Run(Budget(flags.minutes, flags.steps), flags.rate, checkpoint, log, flags.stop_after)
    finished, interrupted = train(job, draft, run)
    model_directory.save(flags.out, draft, DTYPES[flags.dtype], flags.target)
    if not finished:
        log.say(f"stopped; the same command goes on. {flags.out} holds the draft as it is")
        return 130 if interrupted else 0
    log.say(f"{flags.out} holds the draft")
    if not flags.no_report:
        report(flags, text, log)
    return 0


if __name__ == "__main__":
    input_error.run(main)
