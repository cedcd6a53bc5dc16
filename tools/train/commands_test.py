"""The scripts as a person runs them, from nothing to a report: a tiny target, a draft for it, stopped and gone on with."""

import argparse
import json
import os
import shutil
import unittest

import acceptance
from testing import BOOK, ROOT, TARGET, TRIFORCE, ScratchTest, needs_sentencepiece, needs_triforce, run

SMALL = ["--device", "cpu", "--threads", "1", "--seed", "1"]
TARGET_FLAGS = ["--text", BOOK, "--steps", "150", "--hidden", "64", "--layers", "2", "--heads", "1", "--ffn", "160", "--lengths",
                "64", "128", "256", "512", "--original-positions", "128", "--factor", "16", "--step-tokens", "2048", *SMALL]
DRAFT_FLAGS = ["--text", BOOK, "--hidden", "64", "--layers", "1", "--context", "320", "--batch", "4", "--contexts", "400",
               "--predict", "48", "--seeds", "2", "--triforce", TRIFORCE, *SMALL]


@needs_sentencepiece
@needs_triforce
class FromNothing(ScratchTest):
    def test_a_pair_is_made_stopped_gone_on_with_and_measured(self):
        pair = self.path("pair")
        made = run("demo_pair.py", "target", "--out", pair, *TARGET_FLAGS)
        self.assertEqual(made.returncode, 0, made.stdout + made.stderr)
        target, draft = os.path.join(pair, "target"), os.path.join(pair, "draft")
        self.assertIn("yarn, theta 10000, factor 16", acceptance.run([TRIFORCE, "inspect", "-m", target]))

        # Distillation that ends before its first step leaves the draft as it was drawn; the same command goes on.
        command = ["draft", "--out", pair, "--steps", "100", *DRAFT_FLAGS]
        stopped = run("demo_pair.py", *command, "--stop-after", "0.000001")
        self.assertEqual(stopped.returncode, 0, stopped.stdout + stopped.stderr)
        self.assertIn("the same command goes on", stopped.stdout)
        untrained = shutil.copytree(draft, self.path("untrained"))
        stopped = run("demo_pair.py", *command, "--stop-after", "0.05")
        self.assertEqual(stopped.returncode, 0, stopped.stdout + stopped.stderr)
        trained = run("demo_pair.py", *command)
        self.assertEqual(trained.returncode, 0, trained.stdout + trained.stderr)
        self.assertIn("goes on from step ", trained.stdout)
        self.assertIn("draft: draft to full: accepted ", trained.stdout)
        self.compare(draft, untrained, target)

    def compare(self, draft, untrained, target):
        """What the runtime accepts of the draft, by its report, and of the one that has learnt nothing."""
        with open(os.path.join(draft, "acceptance.json"), encoding="utf-8") as file:
            report = json.load(file)
        options = argparse.Namespace(**report["settings"])
        before = acceptance.measure(TRIFORCE, target, untrained, report["texts"], options)
        after, before = (each["modes"]["draft"]["draft to full"] for each in (report, before))
        print(f"accepted: {before['acceptance']:.3f} ({before['accepted']}/{before['tested']}) untrained, "
              f"{after['acceptance']:.3f} ({after['accepted']}/{after['tested']}) distilled")
        self.assertGreater(after["tested"], 100)
        self.assertGreater(after["acceptance"], before["acceptance"] + 0.1)


class Mistakes(ScratchTest):
    def check(self, status, reason, script, *arguments):
        result = run(script, *arguments)
        self.assertEqual(result.returncode, status, result.stderr)
        self.assertIn(reason, result.stderr)
        self.assertNotIn("Traceback", result.stderr)

    def test_they_are_named(self):
        tokens = self.write_tokens("some.u16", list(range(3, 203)))
        some = ["--out", self.path("out"), "--text", tokens, "--steps", "1", *SMALL]
        self.check(2, "one of --minutes and --steps", "distill.py", "--target", TARGET, *some, "--minutes", "1")
        self.check(2, "expected more than 0", "distill.py", "--target", TARGET, *some, "--layers", "0")
        self.check(1, "expected a Hugging Face model directory", "distill.py", "--target", self.path("none"), *some)
        self.check(1, "the text is too short", "distill.py", "--target", TARGET, *some)
        self.check(1, "has a vocabulary of 320, the target one of 4096", "distill.py", "--target", TARGET, *some, "--init",
                   os.path.join(ROOT, "tests", "data", "tiny", "gqa"))
        self.check(1, "the text is too short", "demo_pair.py", "target", *some)
        self.check(1, "is no program; build it", "acceptance.py", "--target", TARGET, "--draft", TARGET, "--text", BOOK,
                   "--triforce", self.path("none"))


if __name__ == "__main__":
    unittest.main()
