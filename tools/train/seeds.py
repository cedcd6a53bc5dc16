"""Random numbers as functions of a seed, a purpose and a number: a step's data do not depend on where a run was resumed."""

import torch

ROWS, EXERCISES, PROMPTS, OWN_TEXT, VALIDATION, WEIGHTS = range(6)


def number_of(seed, purpose, number=0):
    return ((seed * 1_000_003 + purpose) * 1_000_003 + number) % (1 << 63)


def generator(seed, purpose, number=0, device="cpu"):
    return torch.Generator(device).manual_seed(number_of(seed, purpose, number))
