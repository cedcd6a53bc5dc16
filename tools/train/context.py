"""What a token sees of the tokens before it: all of them, or what the runtime's streaming cache of a draft holds.

A context is made for rows of a number of tokens, all of them at positions 0, 1, 2, ..., and attends for every layer of a
model. It turns queries and keys by itself, since where a key stands is the context's matter.
"""

import math

import torch
import torch.nn.functional as F

from rope import Turns

SINKS = 16
CACHE = 256  # tokens, sinks included
TILE = 8  # tokens by which the window moves


def window_begin(token, sinks=SINKS, cache=CACHE, tile=TILE):
    """The first recent token that `token` attends to besides the sinks (runtime/streaming_cache.cc, WindowBehind).

    Works on ints and on tensors.
    """
    oldest = token + 1 - cache
    tiles = (oldest + tile - 1) // tile * tile
    if isinstance(tiles, torch.Tensor):
        return sinks + tiles.clamp(min=0)
    return sinks + max(tiles, 0)


def _attend(q, k, v, scale, **mask):
    """[batch, heads, tokens, head_dim], of k and v kv_heads, each of which serves several heads."""
    group = q.shape[1] // k.shape[1]
    if group > 1:
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    return F.scaled_dot_product_attention(q, k, v, scale=scale, **mask)


class FullContext:
    """A token sees all before it and itself."""

    def __init__(self, shape, tokens, device):
        self.turns = Turns.at(torch.arange(tokens, device=device), shape.rope, shape.head_dim)
        self.scale = 1 / math.sqrt(shape.head_dim)

    def attend(self, layer, q, k, v):
        return _attend(self.turns.turn(q), self.turns.turn(k), v, self.scale, is_causal=True)


class StreamingContext:
    """A token sees the first SINKS tokens, and of those behind them the last 233 to 240, itself among them.

    A recent key stands as far from the query as in the text; a sink stands as if the cache's tokens lay side by side, that is
    nearer by what the window leaves out between them. So a query has two forms, one for recent keys and one for sinks, and
    each key is zero where the other form multiplies it: one attention of twice the head_dim, with one softmax.
    """

    def __init__(self, shape, tokens, device):
        at = torch.arange(tokens, device=device)
        first = window_begin(at)
        self.text = Turns.at(at, shape.rope, shape.head_dim)
        self.cache = Turns.at(at - (first - SINKS), shape.rope, shape.head_dim)
        self.visible = (at[None] <= at[:, None]) & ((at[None] < SINKS) | (at[None] >= first[:, None]))
        self.is_sink = (at < SINKS)[:, None]
        self.scale = 1 / math.sqrt(shape.head_dim)

    def attend(self, layer, q, k, v):
        k = self.text.turn(k)  # of sinks the same as in the cache
        none = torch.zeros((), dtype=k.dtype, device=k.device)
        k = torch.cat([torch.where(self.is_sink, none, k), torch.where(self.is_sink, k, none)], -1)
        q = torch.cat([self.text.turn(q), self.cache.turn(q)], -1)
        return _attend(q, k, v, self.scale, attn_mask=self.visible)


class GrowingContext:
    """As FullContext, but the tokens of a row come in several passes: keys and values are kept."""

    def __init__(self, shape, rows, tokens, device, dtype):
        self.turns = Turns.at(torch.arange(tokens, device=device), shape.rope, shape.head_dim)
        size = (shape.layers, 2, rows, shape.kv_heads, tokens, shape.head_dim)
        self.kept = torch.empty(size, dtype=dtype, device=device)
        self.tokens = 0  # taken in; the caller adds a pass' tokens behind it
        self.scale = 1 / math.sqrt(shape.head_dim)

    def attend(self, layer, q, k, v):
        begin, end = self.tokens, self.tokens + q.shape[2]
        turns = self.turns.slice(begin, end)
        self.kept[layer, 0, :, :, begin:end] = turns.turn(k)
        self.kept[layer, 1, :, :, begin:end] = v
        k, v = self.kept[layer, 0, :, :, :end], self.kept[layer, 1, :, :, :end]
        mask = {"is_causal": True} if begin == 0 else {}
        if begin > 0 and end - begin > 1:
            at = torch.arange(end, device=q.device)
            mask = {"attn_mask": at[None] <= at[begin:, None]}
        return _attend(turns.turn(q), k, v, self.scale, **mask)
