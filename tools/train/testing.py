"""What the tests share: where the repository lies, small corpora, a scratch folder."""

import os
import subprocess
import sys
import tempfile
import unittest

import torch

import acceptance

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
TARGET = os.path.join(ROOT, "models", "demo", "target")
BOOK = os.path.join(ROOT, "models", "demo", "books", "The_Time_Machine.txt")
TRIFORCE = os.environ.get("TRIFORCE", acceptance.TRIFORCE)


def has(module):
    try:
        __import__(module)
    except ImportError:
        return False
    return True


needs_sentencepiece = unittest.skipUnless(has("sentencepiece"), "sentencepiece is not installed")
needs_triforce = unittest.skipUnless(os.access(TRIFORCE, os.X_OK), "triforce is not built")


class ScratchTest(unittest.TestCase):
    def setUp(self):
        torch.set_num_threads(1)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, data):
        with open(self.path(name), "wb") as file:
            file.write(data)
        return self.path(name)

    def write_tokens(self, name, tokens):
        return self.write(name, b"".join(token.to_bytes(2, "little") for token in tokens))


def run(script, *arguments):
    """A script of this folder, as a person runs it; its exit status and what it printed."""
    here = os.path.dirname(os.path.abspath(__file__))
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, os.path.join(here, script), *arguments], capture_output=True, text=True,
                          env=environment, check=False)
