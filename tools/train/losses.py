"""Losses over the vocabulary, a piece of the tokens at a time: the logits of all of them would take most of the memory."""

import torch

PIECE_LOGITS = 1 << 26  # of one piece: 256 MiB in f32


def _pieces(model, tensors):
    tokens = max(1, PIECE_LOGITS // model.shape.vocab)
    return zip(*(tensor.split(tokens) for tensor in tensors))


def backward(model, hidden, loss_of, *others):
    """Backpropagates the mean over tokens of loss_of(logits, *others), a sum, through logits and `hidden`; returns the mean.

    hidden: f32 [tokens, hidden], of `model`, with its graph; others: tensors of as many tokens, without.
    """
    leaf = hidden.detach().requires_grad_()
    total = torch.zeros((), device=hidden.device)
    for piece, *rest in _pieces(model, (leaf, *others)):
        loss = loss_of(model.logits(piece), *rest) / len(hidden)
        loss.backward()
        total += loss.detach()
    hidden.backward(leaf.grad)
    return total


def mean(model, hidden, measure, *others):
    """The mean over tokens of measure(logits, *others), a sum, without gradients."""
    total = torch.zeros((), device=hidden.device)
    for piece, *rest in _pieces(model, (hidden, *others)):
        total += measure(model.logits(piece), *rest)
    return total / len(hidden)
