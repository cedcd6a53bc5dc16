"""The job of training a target from nothing: the next token of text and of exercises, in phases of growing length."""

import dataclasses

import torch
import torch.nn.functional as F

import config
import exercises
import losses
import seeds
from context import FullContext
from corpus import Corpus
from facts import Facts

VALIDATION_TOKENS = 32768  # of rows as long as the phase's
FACT_ROWS, FACT_DEPTHS = 8, (0.25, 0.5, 0.9)


@dataclasses.dataclass(frozen=True)
class Phase:
    until: float  # share of the budget
    tokens: int  # of a row
    rope: config.Rope


@dataclasses.dataclass(frozen=True)
class Lesson:
    corpus: Corpus
    phases: list
    step_tokens: int  # of a step, whatever a row's length
    sentences: Facts
    seed: int


def next_token_loss(logits, tokens):
    return F.cross_entropy(logits, tokens, reduction="sum")


class Pretraining:
    """Sets the model's shape to the phase's RoPE as it goes."""

    def __init__(self, model, lesson, device):
        self.model, self.lesson, self.device = model, lesson, device
        self._phase, self._context = None, None

    def _autocast(self):
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def _enter(self, share):
        phase = next((p for p in self.lesson.phases if share < p.until), self.lesson.phases[-1])
        if phase is not self._phase:
            self._phase = phase
            self.model.shape = dataclasses.replace(self.model.shape, rope=phase.rope)
            self._context = FullContext(self.model.shape, phase.tokens, self.device)
        return phase

    def batch(self, step, phase):
        """i64 [rows, tokens + 1], on the CPU."""
        rows = max(1, self.lesson.step_tokens // phase.tokens)
        tokens = self.lesson.corpus.rows(rows, phase.tokens + 1, seeds.generator(self.lesson.seed, seeds.ROWS, step))
        if self.model.shape.bos is not None:
            tokens[::2, 0] = self.model.shape.bos  # a text may begin anywhere, and with BOS
        return exercises.write(tokens, seeds.number_of(self.lesson.seed, seeds.EXERCISES, step), self.lesson.sentences)

    def backward(self, step, share):
        phase = self._enter(share)
        tokens = self.batch(step, phase).to(self.device)
        with self._autocast():
            hidden = self.model(tokens[:, :-1], self._context).flatten(0, 1)
            loss = losses.backward(self.model, hidden, next_token_loss, tokens[:, 1:].flatten())
        return loss, tokens[:, 1:].numel()

    @torch.no_grad()
    def validate(self, share):
        """Loss on held-out text, and shares of facts that are found whole, at the phase's length."""
        tokens = self._enter(share).tokens
        result = {"loss": self._held_out_loss(min(tokens, len(self.lesson.corpus.held_out) - 1))}
        for number, depth in enumerate(FACT_DEPTHS):
            result[f"facts {depth:.2f} x {tokens} back"] = self._facts_found(depth, tokens, number)
        return result

    def _held_out_loss(self, tokens):
        held_out, context = self.lesson.corpus.held_out, FullContext(self.model.shape, tokens, self.device)
        begins = torch.linspace(0, len(held_out) - tokens - 1, max(1, VALIDATION_TOKENS // tokens)).long().tolist()
        total = 0.0
        for begin in begins:
            row = held_out[None, begin:begin + tokens + 1].long().to(self.device)
            with self._autocast():
                hidden = self.model(row[:, :-1], context)[0]
                total += float(losses.mean(self.model, hidden, next_token_loss, row[0, 1:]))
        return total / len(begins)

    def _facts_found(self, depth, tokens, number):
        rows = self.lesson.corpus.rows(FACT_ROWS, tokens, seeds.generator(self.lesson.seed, seeds.VALIDATION, number))
        seed = seeds.number_of(self.lesson.seed, seeds.VALIDATION, number)
        begin, count = exercises.fact_rows(rows, depth, seed, self.lesson.sentences)
        found = 0
        for row in rows.split(1):
            row = row.to(self.device)
            with self._autocast():
                logits = self.model.logits(self.model(row, self._context)[:, begin - 1:begin - 1 + count])
            found += bool((logits.argmax(-1) == row[:, begin:]).all())
        return found / len(rows)
