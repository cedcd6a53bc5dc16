"""The loop of training, its budget of time or steps, and what it leaves to go on from.

A job has backward(step, share) -> (mean loss, tokens), which leaves gradients, and validate(share) -> {name: number}. `share` is
the part of the budget that is used up. With a budget of steps a run that is stopped and goes on gives the very parameters
that it would have given in one piece (on a CPU, with as many threads); with one of minutes the learning rate follows the clock.
"""

import dataclasses
import json
import math
import os
import shutil
import signal
import time

import torch

import safetensors_file
from input_error import InputError
from optimizer import Optimizer

WARM_UP = 100  # steps until the learning rate is whole, also where moments were lost
WARM_UP_SHARE = 0.1  # of the budget, if that is less
LAST_RATE = 0.02  # of the learning rate, at the end of the cosine
REPORT_SECONDS = 15
CHECKPOINT_SECONDS = 120


@dataclasses.dataclass(frozen=True)
class Budget:
    """All runs of a training together: so many minutes of it, or so many steps."""
    minutes: float | None = None
    steps: int | None = None

    def share(self, progress):
        if self.steps is not None:
            return progress.step / self.steps
        return progress.seconds / (60 * self.minutes)


@dataclasses.dataclass
class Progress:
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    warm_from: int = 0  # the step when the optimizer's moments were zero
    loss: float | None = None  # running mean


class Checkpoint:
    """A folder: state.json, parameters.safetensors, moments.safetensors; replaced as a whole.

    A light one is for the way to another machine: f16, and no moments, which a hundred steps bring back.
    """

    def __init__(self, folder, settings, light=False):
        self._folder, self._settings, self._light = folder, settings, light

    def save(self, model, optimizer, progress):
        new, old = self._folder + ".new", self._folder + ".old"
        for folder in (new, old):
            shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(new)
        dtype = torch.float16 if self._light else torch.float32
        tensors = {name: parameter.to(dtype) for name, parameter in model.state_dict().items()}
        safetensors_file.write(os.path.join(new, "parameters.safetensors"), tensors)
        if not self._light:
            safetensors_file.write(os.path.join(new, "moments.safetensors"), optimizer.moments)
        state = {"settings": self._settings, "progress": dataclasses.asdict(progress)}
        with open(os.path.join(new, "state.json"), "w", encoding="utf-8") as file:
            json.dump(state, file, indent=1)
        if os.path.exists(self._folder):
            os.rename(self._folder, old)
        os.rename(new, self._folder)
        shutil.rmtree(old, ignore_errors=True)

    def _find(self):
        for folder in (self._folder, self._folder + ".old"):  # .old: a save was cut off between its two renames
            if os.path.exists(os.path.join(folder, "state.json")):
                return folder
        return None

    def load(self, model, optimizer):
        """Where an earlier run has got to, with parameters and moments put in place; None where there was none."""
        folder = self._find()
        if folder is None:
            return None
        path = os.path.join(folder, "state.json")
        try:
            with open(path, encoding="utf-8") as file:
                state = json.load(file)
            settings, progress = state["settings"], Progress(**state["progress"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: cannot be read: {error}; remove {folder} to begin anew") from None
        for name, value in self._settings.items():
            if settings.get(name) != value:
                raise InputError(f"{folder} holds a training with {name} {settings.get(name)!r}, this one has {value!r}; give "
                                 "the same flags to go on, another --out, or remove that folder to begin anew")
        parameters = safetensors_file.read(os.path.join(folder, "parameters.safetensors"), torch.float32)
        try:
            model.load_state_dict(parameters)
        except RuntimeError as error:
            raise InputError(f"{folder}: its parameters do not fit: {error}") from None
        moments = os.path.join(folder, "moments.safetensors")
        if os.path.exists(moments):
            for name, tensor in safetensors_file.read(moments).items():
                optimizer.moments[name].copy_(tensor)
        else:
            progress.warm_from = progress.step
        return progress


class Stop:
    """Set by SIGINT and SIGTERM while it is entered: the step under way ends, and a checkpoint is left."""

    def __enter__(self):
        self.asked = False
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _ask(self, number, frame):
        self.asked = True

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)


class Log:
    """Lines for people on stdout, and JSON objects in a file."""

    def __init__(self, path):
        self._path = path

    def say(self, text):
        print(text, flush=True)

    def record(self, **fields):
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(fields) + "\n")


def rate_at(peak, share, progress):
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
    warm = (progress.step - progress.warm_from + 1) / WARM_UP
    if progress.warm_from == 0:
        warm = max(warm, share / WARM_UP_SHARE)
    return peak * min(1.0, warm) * (LAST_RATE + (1 - LAST_RATE) * cosine)


@dataclasses.dataclass(frozen=True)
class Run:
    budget: Budget
    peak_rate: float
    checkpoint: Checkpoint
    log: Log
    stop_after_minutes: float | None = None


def train(job, model, run):
    """Runs until the budget is used up, `stop_after_minutes` have passed, or a signal asks to stop.

    Returns whether the budget is used up, and whether a signal stopped it. The last checkpoint is behind the last step.
    """
    optimizer, log = Optimizer(model), run.log
    progress = _begin(job, model, optimizer, run)
    begin = saved = now = time.monotonic()
    reported, seconds_before = 0.0, progress.seconds
    last = math.inf if run.stop_after_minutes is None else begin + 60 * run.stop_after_minutes
    with Stop() as stop:
        while (share := run.budget.share(progress)) < 1 and now < last and not stop.asked:
            rate = rate_at(run.peak_rate, share, progress)
            _step(job, optimizer, progress, rate, share)
            now = time.monotonic()
            progress.seconds = seconds_before + now - begin
            if now - reported >= REPORT_SECONDS:
                _report(log, progress, rate)
                reported = now
            if now - saved >= CHECKPOINT_SECONDS:
                run.checkpoint.save(model, optimizer, progress)
                saved = now
    run.checkpoint.save(model, optimizer, progress)
    share = run.budget.share(progress)
    _validate(job, log, progress, share)
    return share >= 1, stop.asked


def _begin(job, model, optimizer, run):
    log, progress = run.log, run.checkpoint.load(model, optimizer)
    if progress is None:
        progress = Progress()
        _validate(job, log, progress, 0)
        return progress
    without = ", without the optimizer's moments" if progress.warm_from == progress.step > 0 else ""
    log.say(f"goes on from step {progress.step}, {progress.seconds / 60:.1f} minutes{without}")
    return progress


def _step(job, optimizer, progress, rate, share):
    loss, tokens = job.backward(progress.step, share)
    optimizer.step(rate, progress.step - progress.warm_from + 1)
    loss = float(loss)
    if not math.isfinite(loss):
        raise InputError(f"the loss at step {progress.step} is {loss}: training has diverged; try a lower --rate")
    progress.loss = loss if progress.loss is None else 0.98 * progress.loss + 0.02 * loss
    progress.step += 1
    progress.tokens += tokens


def _validate(job, log, progress, share):
    found = job.validate(share)
    log.record(step=progress.step, tokens=progress.tokens, minutes=round(progress.seconds / 60, 3), held_out=found)
    log.say(f"step {progress.step}, {progress.tokens / 1e6:.2f}M tokens, {progress.seconds / 60:.1f} minutes; held out: "
            + ", ".join(f"{name} {value:.4f}" for name, value in found.items()))


def _report(log, progress, rate):
    log.record(step=progress.step, tokens=progress.tokens, minutes=round(progress.seconds / 60, 3), loss=progress.loss,
               rate=rate)
    log.say(f"{progress.seconds / 60:6.1f} min  step {progress.step}  {progress.tokens / 1e6:.2f}M tokens  "
            f"loss {progress.loss:.4f}  rate {rate:.2e}  {progress.tokens / max(progress.seconds, 1e-9):.0f} tokens/s")
