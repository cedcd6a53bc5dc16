"""Muon's orthogonal updates, and AdamW against PyTorch's."""

import unittest

import torch
from torch import nn

from optimizer import BETAS, EMBEDDING_RATE, EPSILON, Optimizer, orthogonal


class Matrices(unittest.TestCase):
    def test_singular_values_come_near_one(self):
        random = torch.Generator().manual_seed(2)
        for shape in ((4, 32, 64), (4, 64, 32), (1, 48, 48)):
            values = torch.linalg.svdvals(orthogonal(torch.randn(shape, generator=random)))
            # The iteration trades exactness for few steps: its values end between .68 and 1.13 (the source's figure 2),
            # but for a square matrix' smallest.
            self.assertLess(float(values.max()), 1.2)
            self.assertGreater(float(values[:, :24].min()), 0.6)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        random = torch.Generator().manual_seed(3)
        self.embedding = nn.Parameter(torch.randn(7, 5, generator=random))
        self.norm = nn.Parameter(torch.ones(5))


class Rest(unittest.TestCase):
    def test_embeddings_and_norms_move_as_by_pytorch_s_adamw(self):
        ours, theirs = Model(), Model()
        optimizer = Optimizer(ours)
        reference = torch.optim.AdamW(theirs.parameters(), lr=1e-2 * EMBEDDING_RATE, betas=BETAS, eps=EPSILON, weight_decay=0)
        for number in range(1, 20):
            for model in (ours, theirs):
                ((model.embedding * model.norm).sin().sum() / 9).backward()
            torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
            optimizer.step(1e-2, number)
            reference.step()
            reference.zero_grad()
        self.assertLess(float((ours.embedding - theirs.embedding).detach().abs().max()), 1e-5)
        self.assertLess(float((ours.norm - theirs.norm).detach().abs().max()), 1e-5)


if __name__ == "__main__":
    unittest.main()
