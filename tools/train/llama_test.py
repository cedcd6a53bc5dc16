"""The model against what transformers computes: tests/data/tiny, models/testdata/rope_frequencies.json."""

import glob
import json
import os
import unittest

import torch

import config
import model_directory
import rope
import safetensors_file
from context import FullContext
from input_error import InputError
from testing import ROOT, TARGET, ScratchTest

safetensors_file.DTYPES.setdefault("I64", torch.int64)  # of golden files alone


class Goldens(ScratchTest):
    def test_logits_of_all_tiny_models(self):
        models = sorted(glob.glob(os.path.join(ROOT, "tests", "data", "tiny", "*")))
        self.assertGreater(len(models), 10)
        for directory in models:
            golden = safetensors_file.read(os.path.join(directory, "golden.safetensors"))
            model, tokens = model_directory.load(directory), golden["input_ids"].reshape(1, -1)
            with torch.no_grad():
                found = model.logits(model(tokens, FullContext(model.shape, tokens.shape[1], "cpu")))[0]
            difference = float((found - golden["logits"]).abs().max() / golden["logits"].abs().max())
            self.assertLess(difference, 1e-5, directory)  # f32, sums in another order

    def test_rope_frequencies(self):
        with open(os.path.join(ROOT, "models", "testdata", "rope_frequencies.json"), encoding="utf-8") as file:
            cases = json.load(file)["cases"]
        for case in cases:
            self.write("config.json", json.dumps(case["config"]).encode())
            shape = config.read(self.folder)
            inverse, scaling = rope.frequencies(shape.rope, shape.head_dim)
            expected = torch.tensor(case["inv_freq"], dtype=torch.float64)
            self.assertLess(float(((inverse - expected) / expected).abs().max()), 1e-6, case["name"])
            self.assertAlmostEqual(scaling, case["attention_scaling"], places=6)


class Directories(ScratchTest):
    def test_what_is_saved_is_read_again(self):
        for name in ("gqa", "llama3", "yarn", "tied", "bias", "sharded", "bf16"):
            model = model_directory.load(os.path.join(ROOT, "tests", "data", "tiny", name))
            model_directory.save(self.folder, model, torch.float32)
            again = model_directory.load(self.folder)
            self.assertEqual(again.shape, model.shape)
            for parameter, tensor in model.state_dict().items():
                self.assertTrue(torch.equal(again.state_dict()[parameter], tensor), (name, parameter))

    def test_the_tokenizer_comes_along(self):
        model = model_directory.load(TARGET)
        model_directory.save(self.folder, model, torch.float16, TARGET)
        self.assertTrue(os.path.exists(self.path("tokenizer.model")))
        with open(self.path("tokenizer_config.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file)["model_max_length"], model.shape.max_positions)

    def test_values_that_a_type_cannot_hold_are_refused(self):
        model = model_directory.load(os.path.join(ROOT, "tests", "data", "tiny", "gqa"))
        with torch.no_grad():
            model.model.norm.weight[0] = 1e6
        with self.assertRaisesRegex(InputError, "model.norm.weight has values"):
            model_directory.save(self.folder, model, torch.float16)

    def test_what_is_wrong_is_named(self):
        with self.assertRaisesRegex(InputError, "expected a Hugging Face model directory"):
            model_directory.load(self.path("nowhere"))
        self.write("config.json", b"{\"model_type\": \"mistral\"}")
        with self.assertRaisesRegex(InputError, "expected model_type"):
            model_directory.load(self.folder)
        self.write("config.json", b"{\"model_type\": \"llama\", \"vocab_size\": 5}")
        with self.assertRaisesRegex(InputError, "a field is missing.*hidden_size"):
            model_directory.load(self.folder)
        with open(os.path.join(TARGET, "config.json"), "rb") as file:
            self.write("config.json", file.read())
        with self.assertRaisesRegex(InputError, "model.safetensors: No such file"):
            model_directory.load(self.folder)
        for data, reason in ((b"abc", "is no safetensors file"), (b"\xff" * 100, "cut short"),
                             ((2).to_bytes(8, "little") + b"[]", "no JSON object"),
                             ((2).to_bytes(8, "little") + b"{}", "embed_tokens.weight: expected a tensor")):
            self.write("model.safetensors", data)
            with self.assertRaisesRegex(InputError, reason):
                model_directory.load(self.folder)


if __name__ == "__main__":
    unittest.main()
