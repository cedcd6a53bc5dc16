"""Runs that are stopped and go on, what a checkpoint refuses, and that training learns."""

import contextlib
import io
import os
import shutil
import signal
import unittest

import torch

import config
from distillation import Distillation, Rows
from input_error import InputError
from llama import Llama
from corpus import Corpus
from testing import ScratchTest
from training import Budget, Checkpoint, Log, Progress, Run, rate_at, train

TARGET = config.Shape(vocab=61, hidden=32, ffn=64, layers=2, heads=2, kv_heads=1, head_dim=16, bos=1)
DRAFT = config.Shape(vocab=61, hidden=16, ffn=32, layers=1, heads=1, kv_heads=1, head_dim=16, bos=1)


def sure_target():
    """Random, but with laws that differ from token to token: there is something to learn."""
    target = Llama(TARGET).initialise(3).requires_grad_(False)
    target.lm_head.weight.mul_(40)
    return target


class Training(ScratchTest):
    def setUp(self):
        super().setUp()
        self.corpus = Corpus([torch.randint(2, 61, (5000,), generator=torch.Generator().manual_seed(4)).int()])
        self.target = sure_target()

    def run_it(self, folder, steps, stop_after=None, light=False, seed=7, own_share=0.5):
        """A run in a folder: the draft, and whether the budget was used up."""
        draft = Llama(DRAFT).initialise(5)
        job = Distillation(self.target, draft, self.corpus, Rows(4, 48, own_share, seed), torch.device("cpu"))
        if stop_after is not None:
            job = StoppedBehind(job, stop_after)
        checkpoint = Checkpoint(self.path(folder), {"seed": seed}, light)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            finished, _ = train(job, draft, Run(Budget(steps=steps), 3e-3, checkpoint, Log(self.path("log"))))
        self.said = said.getvalue()
        return draft, finished

    def test_a_run_that_goes_on_gives_the_parameters_of_one_that_never_stopped(self):
        whole, finished = self.run_it("whole", 40)
        self.assertTrue(finished)
        for steps in (3, 31, 1):  # also in the midst of a batch of own text
            _, finished = self.run_it("pieces", 40, stop_after=steps)
            self.assertFalse(finished)
        pieces, finished = self.run_it("pieces", 40)
        self.assertTrue(finished)
        self.assertIn("goes on from step 35", self.said)
        for name, tensor in whole.state_dict().items():
            self.assertTrue(torch.equal(tensor, pieces.state_dict()[name]), name)
        other, _ = self.run_it("other", 40, seed=8)
        self.assertFalse(torch.equal(other.lm_head.weight, whole.lm_head.weight))

    def test_the_draft_comes_nearer_to_the_target(self):
        def loss(draft):
            job = Distillation(self.target, draft, self.corpus, Rows(4, 48, 0, 7), torch.device("cpu"))
            return job.validate(1)
        before = loss(Llama(DRAFT).initialise(5))
        draft, _ = self.run_it("whole", 150)
        after = loss(draft)
        self.assertLess(after["divergence"], 0.8 * before["divergence"])
        self.assertGreater(after["acceptance at T 1"], before["acceptance at T 1"] + 0.05)

    def test_a_light_checkpoint_goes_on_without_moments(self):
        self.run_it("light", 40, stop_after=20, light=True)
        self.assertEqual(sorted(os.listdir(self.path("light"))), ["parameters.safetensors", "state.json"])
        self.run_it("light", 40, light=True)
        self.assertIn("goes on from step 20", self.said)
        self.assertIn("without the optimizer's moments", self.said)

    def test_a_save_that_was_cut_off_leaves_the_one_before(self):
        self.run_it("cut", 40, stop_after=20)
        os.rename(self.path("cut"), self.path("cut.old"))
        os.makedirs(self.path("cut.new"))
        self.run_it("cut", 40)
        self.assertIn("goes on from step 20", self.said)

    def test_what_does_not_fit_is_refused(self):
        self.run_it("kept", 40, stop_after=2)
        with self.assertRaisesRegex(InputError, "holds a training with seed 7, this one has 9"):
            self.run_it("kept", 40, seed=9)
        self.write("kept/state.json", b"{")
        with self.assertRaisesRegex(InputError, "cannot be read"):
            self.run_it("kept", 40)
        shutil.rmtree(self.path("kept"))
        self.target.lm_head.weight.fill_(float("nan"))
        with self.assertRaisesRegex(InputError, "training has diverged"):
            self.run_it("kept", 40, own_share=0)


class StoppedBehind:
    """A job that asks to stop, as Ctrl-C does, in the last of some steps."""

    def __init__(self, job, steps):
        self._job, self._steps = job, steps
        self.validate = job.validate

    def backward(self, step, share):
        self._steps -= 1
        if self._steps == 0:
            signal.raise_signal(signal.SIGINT)
        return self._job.backward(step, share)


class Rates(unittest.TestCase):
    def test_they_rise_and_fall_and_rise_again_where_moments_were_lost(self):
        self.assertAlmostEqual(rate_at(1.0, 0, Progress(step=0)), 0.01)
        self.assertAlmostEqual(rate_at(1.0, 0, Progress(step=99)), 1.0)
        self.assertAlmostEqual(rate_at(1.0, 0.05, Progress(step=0)), 0.5 * (0.02 + 0.98 * 0.99384), places=4)
        self.assertAlmostEqual(rate_at(1.0, 1, Progress(step=5000)), 0.02)
        self.assertLess(rate_at(1.0, 0.5, Progress(step=5000, warm_from=5000)), 0.01)


if __name__ == "__main__":
    unittest.main()
