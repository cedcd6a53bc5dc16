"""What a draft sees while it is trained is what the runtime will let it see."""

import json
import os
import re
import shutil
import subprocess
import unittest

import torch

import config
import context
import model_directory
from llama import Llama
from testing import ROOT, TRIFORCE, ScratchTest, needs_triforce

SHAPE = config.Shape(vocab=97, hidden=48, ffn=80, layers=2, heads=4, kv_heads=2, head_dim=16,
                     rope=config.Rope(type="yarn", factor=4.0, original_positions=128))


def constant(path, name):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return int(re.search(rf"\b{name} = (\d+);", file.read())[1])


class Window(unittest.TestCase):
    def test_the_constants_are_the_runtime_s(self):
        self.assertEqual(context.SINKS, constant("offload/plan.h", "sink_tokens"))
        self.assertEqual(context.CACHE, constant("offload/plan.h", "cache_tokens"))
        self.assertEqual(context.TILE, constant("kernels/ops/kv_view.h", "kKeyTile"))

    def test_it_has_233_to_240_recent_tokens_and_moves_by_eight(self):
        for token in range(3000):
            begin = context.window_begin(token)
            if token < 256:
                self.assertEqual(begin, 16)  # all that came before
                continue
            self.assertEqual(begin % 8, 0)
            self.assertEqual(token + 1 - begin, 240 - (8 - (token + 1) % 8) % 8)

    def test_it_is_the_same_on_tensors(self):
        found = context.window_begin(torch.arange(3000)).tolist()
        self.assertEqual(found, [context.window_begin(token) for token in range(3000)])


class Contexts(unittest.TestCase):
    def setUp(self):
        torch.set_num_threads(1)
        self.random = torch.Generator().manual_seed(5)

    def heads(self, tokens):
        return tuple(torch.randn(1, heads, tokens, SHAPE.head_dim, generator=self.random)
                     for heads in (SHAPE.heads, SHAPE.kv_heads, SHAPE.kv_heads))

    def test_a_streaming_query_sees_sinks_and_window_side_by_side(self):
        tokens = 700
        q, k, v = self.heads(tokens)
        found = context.StreamingContext(SHAPE, tokens, "cpu").attend(0, q, k, v)
        for token in (0, 15, 16, 100, 255, 256, 263, 264, 500, 699):
            begin = context.window_begin(token)
            seen = [i for i in range(token + 1) if i < 16 or i >= begin]
            side_by_side = context.FullContext(SHAPE, len(seen), "cpu")
            expected = side_by_side.attend(0, q[:, :, seen], k[:, :, seen], v[:, :, seen])[:, :, -1]
            # f32 angles and sums of some 250 terms, values of size 1
            self.assertLess(float((found[:, :, token] - expected).abs().max()), 2e-5, token)

    def test_passes_of_any_length_give_what_one_gives(self):
        model = Llama(SHAPE).initialise(1)
        tokens = torch.randint(SHAPE.vocab, (3, 60), generator=self.random)
        with torch.no_grad():
            expected = model(tokens, context.FullContext(SHAPE, 60, "cpu"))
            growing, parts = context.GrowingContext(SHAPE, 3, 60, "cpu", torch.float32), []
            for begin, end in ((0, 20), (20, 21), (21, 50), (50, 60)):
                parts.append(model(tokens[:, begin:end], growing))
                growing.tokens = end
        self.assertLess(float((torch.cat(parts, 1) - expected).abs().max()), 1e-4)


@needs_triforce
class Runtime(ScratchTest):
    """A random model drafts for itself behind 700 tokens: what it misses, it misses for want of what it does not see."""

    def test_greedy_acceptance_is_what_the_context_predicts(self):
        prompt_tokens = 700
        model = shutil.copytree(os.path.join(ROOT, "tests", "data", "tiny", "gqa"), self.path("model"))
        with open(os.path.join(model, "config.json"), encoding="utf-8") as file:
            fields = json.load(file)
        with open(os.path.join(model, "config.json"), "w", encoding="utf-8") as file:
            json.dump({**fields, "max_position_embeddings": 4096}, file)
        random = torch.Generator().manual_seed(0)
        prompt = torch.randint(3, fields["vocab_size"], (prompt_tokens,), generator=random).tolist()
        self.write("prompt.json", json.dumps(prompt).encode())
        subprocess.run([TRIFORCE, "generate", "--model", model, "--draft-model", model, "--ids", self.path("prompt.json"),
                        "--spec", "draft", "--gamma", "1", "--temp", "0", "--kv-type", "f32", "--predict", "300",
                        "--ignore-eos", "--stats-json", self.path("stats.json"), "--output-ids", self.path("out.json")],
                       check=True, capture_output=True)
        with open(self.path("stats.json"), encoding="utf-8") as file:
            level = find(json.load(file), "levels")[0]
        with open(self.path("out.json"), encoding="utf-8") as file:
            tokens = torch.tensor([prompt + json.load(file)])
        loaded = model_directory.load(model)
        streaming = context.StreamingContext(loaded.shape, tokens.shape[1], "cpu")
        self.assertEqual(predicted(loaded, streaming, tokens, prompt_tokens), (level["tested"], level["accepted"]))
        self.assertLess(level["accepted"], level["tested"])
        streaming.cache = streaming.text  # sinks where they were: another law
        self.assertNotEqual(predicted(loaded, streaming, tokens, prompt_tokens), (level["tested"], level["accepted"]))


def find(fields, name):
    """The first value of that name, wherever it stands."""
    if isinstance(fields, dict):
        if name in fields:
            return fields[name]
        fields = list(fields.values())
    for value in fields if isinstance(fields, list) else []:
        found = find(value, name)
        if found is not None:
            return found
    return None


def predicted(model, seen, tokens, prompt_tokens):
    """(tested, accepted) of one proposal a round; behind an accepted one comes a token that nobody proposed."""
    with torch.no_grad():
        best = model.logits(model(tokens, seen))[0].argmax(-1).tolist()
    text, at, tested, accepted = tokens[0].tolist(), prompt_tokens + 1, 0, 0
    while at < len(text) - 1:
        right = best[at - 1] == text[at]
        tested, accepted, at = tested + 1, accepted + right, at + 1 + right
    return tested, accepted


if __name__ == "__main__":
    unittest.main()
