"""Optimizer: Muon for a model's matrices, AdamW for embeddings, norms and biases, behind one learning rate.

Muon is momentum whose update is made orthogonal by five steps of a Newton-Schulz iteration (Jordan et al., "Muon: an
optimizer for hidden layers in neural networks", 2024), scaled to what AdamW's would be (Liu et al., arXiv 2502.16982). All
matrices of one shape go through it together: a small model's are many and small.
"""

import math

import torch

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the iteration, from the first source
RMS = 0.2  # of an update at learning rate 1, from the second
DECAY = 0.1
BETAS, EPSILON = (0.9, 0.95), 1e-8
EMBEDDING_RATE = 1.5  # of the matrices' learning rate
MOST_NORM = 1.0  # of all gradients together


def orthogonal(x):
    """f32 [matrices, rows, columns] -> the same with singular values near 1."""
    wide = x.size(-2) <= x.size(-1)
    x = x if wide else x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.mT


class Optimizer:
    def __init__(self, model):
        matrices, self._rest = {}, []
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and "_proj" in name:
                matrices.setdefault(parameter.shape, []).append((name, parameter))
            else:
                self._rest.append((name, parameter))
        self._matrices = list(matrices.values())
        self._all = [parameter for _, parameter in self._rest]
        self._all += [parameter for group in self._matrices for _, parameter in group]
        self.moments = {}  # f32, by names of parameters and of moments; what a checkpoint keeps
        for name, parameter in self._rest:
            self.moments["first." + name] = torch.zeros_like(parameter)
            self.moments["second." + name] = torch.zeros_like(parameter)
        for group in self._matrices:
            for name, parameter in group:
                self.moments["momentum." + name] = torch.zeros_like(parameter)

    @torch.no_grad()
    def step(self, rate, number):
        """`number`: of steps since the moments were zero, from 1 on. Clips the gradients and takes them away."""
        torch.nn.utils.clip_grad_norm_(self._all, MOST_NORM)
        for group in self._matrices:
            self._step_matrices(group, rate)
        self._step_rest(rate * EMBEDDING_RATE, number)
        for parameter in self._all:
            parameter.grad = None

    def _step_matrices(self, group, rate):
        gradients, parameters = [p.grad for _, p in group], [p for _, p in group]
        momenta = [self.moments["momentum." + name] for name, _ in group]
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
        updates = orthogonal(torch.stack(gradients).lerp_(torch.stack(momenta), MOMENTUM))
        torch._foreach_mul_(parameters, 1 - rate * DECAY)
        scale = RMS * math.sqrt(max(parameters[0].shape))
        torch._foreach_add_(parameters, list(updates.unbind()), alpha=-rate * scale)

    def _step_rest(self, rate, number):
        gradients, parameters = [p.grad for _, p in self._rest], [p for _, p in self._rest]
        first = [self.moments["first." + name] for name, _ in self._rest]
        second = [self.moments["second." + name] for name, _ in self._rest]
        torch._foreach_lerp_(first, gradients, 1 - BETAS[0])
        torch._foreach_mul_(second, BETAS[1])
        torch._foreach_addcmul_(second, gradients, gradients, 1 - BETAS[1])
        roots = torch._foreach_sqrt(second)
        torch._foreach_div_(roots, math.sqrt(1 - BETAS[1] ** number))
        torch._foreach_add_(roots, EPSILON)
        torch._foreach_addcdiv_(parameters, first, roots, -rate / (1 - BETAS[0] ** number))
