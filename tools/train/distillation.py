"""The job of training a draft: at every token the law of the target, given what the runtime will let the draft see.

The target sees a row whole, the draft through the streaming cache. A share of the rows goes on, behind a prompt from the text,
with what the target itself says: that is where a draft is asked while decoding.
"""

import dataclasses

import torch
import torch.nn.functional as F

import losses
import seeds
from context import FullContext, StreamingContext
from own_text import continue_rows

OWN_TEXT_STEPS = 32  # whose own rows are made in one go
VALIDATION_ROWS = 16


@dataclasses.dataclass(frozen=True)
class Rows:
    batch: int  # rows of a step
    tokens: int  # of a row
    own_share: float  # of the rows, that the target has continued
    seed: int


def cross_entropy(logits, law):
    """Of a draft's logits against the target's law: the sum over tokens."""
    return (logits.logsumexp(-1) - (law * logits).sum(-1)).sum()


class Distillation:
    def __init__(self, target, draft, corpus, rows, device):
        self.target, self.draft, self.corpus, self.rows, self.device = target, draft, corpus, rows, device
        self._full = FullContext(target.shape, rows.tokens, device)
        self._streaming = StreamingContext(draft.shape, rows.tokens, device)
        self._own_rows = round(rows.batch * rows.own_share)
        self._own_text, self._own_text_of = None, None  # of which go

    def _autocast(self):
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def _text(self, count, length, random):
        tokens = self.corpus.rows(count, length, random)
        if self.target.shape.bos is not None:
            tokens[:, 0] = self.target.shape.bos  # as the runtime begins a text
        return tokens.to(self.device)

    def _own(self, step):
        """The step's rows of own text; made for OWN_TEXT_STEPS steps together, since single tokens take long."""
        go, place = divmod(step, OWN_TEXT_STEPS)
        if self._own_text_of != go:
            random = seeds.generator(self.rows.seed, seeds.PROMPTS, go)
            eighth = self.rows.tokens // 8
            length = int(torch.randint(eighth, 4 * eighth, (), generator=random))
            prompts = self._text(self._own_rows * OWN_TEXT_STEPS, length, random)
            random = seeds.generator(self.rows.seed, seeds.OWN_TEXT, go, self.device)
            with self._autocast():
                self._own_text = continue_rows(self.target, prompts, self.rows.tokens, random)
            self._own_text_of = go
        return self._own_text[place * self._own_rows:(place + 1) * self._own_rows]

    def batch(self, step):
        """i64 [batch, tokens]."""
        random = seeds.generator(self.rows.seed, seeds.ROWS, step)
        text = self._text(self.rows.batch - self._own_rows, self.rows.tokens, random)
        return torch.cat([text, self._own(step)]) if self._own_rows else text

    def backward(self, step, share):
        tokens = self.batch(step)
        with self._autocast():
            with torch.no_grad():
                wanted = self.target(tokens, self._full).flatten(0, 1)
            hidden = self.draft(tokens, self._streaming).flatten(0, 1)

            def loss_of(logits, wanted):
                with torch.no_grad():
                    law = self.target.logits(wanted).softmax(-1)
                return cross_entropy(logits, law)

            return losses.backward(self.draft, hidden, loss_of, wanted), tokens.numel()

    @torch.no_grad()
    def validate(self, share):
        """Behind the first 256 tokens, where the window has begun to move: divergence, and chance of acceptance at T 1."""
        tokens = self._held_out_rows()
        with self._autocast():
            wanted = self.target(tokens, self._full)
            hidden = self.draft(tokens, self._streaming)
            steady = slice(min(256, self.rows.tokens // 2), None)
            wanted, hidden = wanted[:, steady].flatten(0, 1), hidden[:, steady].flatten(0, 1)

            def divergence(logits, wanted):
                return F.kl_div(logits.log_softmax(-1), self.target.logits(wanted).log_softmax(-1), log_target=True,
                                reduction="sum")

            def overlap(logits, wanted):
                return torch.minimum(logits.softmax(-1), self.target.logits(wanted).softmax(-1)).sum()

            return {"divergence": float(losses.mean(self.draft, hidden, divergence, wanted)),
                    "acceptance at T 1": float(losses.mean(self.draft, hidden, overlap, wanted))}

    def _held_out_rows(self):
        held_out, length = self.corpus.held_out, self.rows.tokens
        if len(held_out) < length:  # a short text: of rows that training sees, too
            return self._text(VALIDATION_ROWS, length, seeds.generator(self.rows.seed, seeds.VALIDATION))
        begins = torch.linspace(0, len(held_out) - length, min(VALIDATION_ROWS, len(held_out) // length)).long()
        tokens = torch.stack([held_out[begin:begin + length] for begin in begins.tolist()]).long()
        if self.target.shape.bos is not None:
            tokens[:, 0] = self.target.shape.bos
        return tokens.to(self.device)
