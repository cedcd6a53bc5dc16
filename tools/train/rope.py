"""RoPE's frequencies, as models/rope_frequencies.cc has them (and transformers' modeling_rope_utils), and turning by them."""

import math

import torch


def _mscale(factor, mscale=1.0):
    return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1


def _yarn(rope, inverse, head_dim):
    def dimension_of(rotations):  # that makes so many turns over the original positions
        turns = rope.original_positions / (rotations * 2 * math.pi)
        return head_dim * math.log(turns) / (2 * math.log(rope.theta))

    low, high = dimension_of(rope.beta_fast), dimension_of(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    ramp = ((torch.arange(head_dim // 2, dtype=torch.float64) - low) / max(high - low, 0.001)).clamp(0, 1)
    inverse = inverse / rope.factor * ramp + inverse * (1 - ramp)
    if rope.attention_factor:
        return inverse, rope.attention_factor
    if rope.mscale and rope.mscale_all_dim:
        return inverse, _mscale(rope.factor, rope.mscale) / _mscale(rope.factor, rope.mscale_all_dim)
    return inverse, _mscale(rope.factor)


def _llama3(rope, inverse):
    wavelength = 2 * math.pi / inverse
    low, high = rope.original_positions / rope.low_freq_factor, rope.original_positions / rope.high_freq_factor
    smooth = (rope.original_positions / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    between = (1 - smooth) * inverse / rope.factor + smooth * inverse
    return torch.where(wavelength > low, inverse / rope.factor, torch.where(wavelength < high, inverse, between))


def frequencies(rope, head_dim):
    """Inverse frequencies, f64 [head_dim / 2], and what queries and keys are scaled by."""
    inverse = 1 / rope.theta ** (torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    if rope.type == "linear":
        return inverse / rope.factor, 1.0
    if rope.type == "yarn":
        return _yarn(rope, inverse, head_dim)
    if rope.type == "llama3":
        return _llama3(rope, inverse), 1.0
    return inverse, 1.0


class Turns:
    """Cosines and sines of some positions, f32 [tokens, head_dim]."""

    def __init__(self, cos, sin):
        self.cos, self.sin = cos, sin

    @classmethod
    def at(cls, positions, rope, head_dim):
        """positions: i64 [tokens], on the device where the turning will be."""
        inverse, scale = frequencies(rope, head_dim)
        # On the CPU, since not every device has f64.
        angles = positions.cpu().double()[:, None] * inverse[None]
        angles = torch.cat([angles, angles], -1)
        return cls(*((part * scale).float().to(positions.device) for part in (angles.cos(), angles.sin())))

    def slice(self, begin, end):
        return Turns(self.cos[begin:end], self.sin[begin:end])

    def turn(self, x):
        """x: [..., tokens, head_dim]; in f32, the result in x's type."""
        first, second = x.chunk(2, -1)
        return (x * self.cos + torch.cat([-second, first], -1) * self.sin).to(x.dtype)
