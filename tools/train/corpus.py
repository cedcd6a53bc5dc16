"""Corpus: tokens of texts, and rows cut from them.

A file is a text in UTF-8, which sentencepiece takes apart, or tokens as little-endian uint16 (.u16, or .u16.xz): then
neither sentencepiece nor the text is needed where training runs. BOS stands before each text, EOS behind it.
"""

import lzma
import os

import torch

from input_error import InputError

HELD_OUT_TOKENS = 65536  # of a file, at most; a twentieth of a short one


def tokenizer(directory):
    """The sentencepiece processor of a model directory."""
    path = os.path.join(directory, "tokenizer.model")
    try:
        import sentencepiece
    except ImportError:
        raise InputError("the Python package sentencepiece is not installed; install it, or give tokens (.u16, .u16.xz) "
                         "instead of texts") from None
    if not os.path.exists(path):
        raise InputError(f"{path}: there is no such file; a target needs its sentencepiece tokenizer here")
    try:
        return sentencepiece.SentencePieceProcessor(model_file=path)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: is no sentencepiece model: {error}") from None


def _bytes(path):
    try:
        with open(path, "rb") as file:
            data = file.read()
        return lzma.decompress(data) if path.endswith(".xz") else data
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except lzma.LZMAError as error:
        raise InputError(f"{path}: is no whole xz file: {error}") from None


def is_tokens(path):
    return path.endswith((".u16", ".u16.xz"))


def _read_tokens(path):
    data = _bytes(path)
    if len(data) % 2:
        raise InputError(f"{path}: has {len(data)} bytes, expected two for each token")
    if not data:
        raise InputError(f"{path}: is empty")
    return torch.frombuffer(bytearray(data), dtype=torch.int16).int() & 0xFFFF


def _read_text(path, target_directory, shape):
    try:
        text = _bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 at byte {error.start}; tokens need a name that ends in .u16 or .u16.xz"
                         ) from None
    ids = tokenizer(target_directory).encode(text)
    if not ids:
        raise InputError(f"{path}: is empty")
    begin = [shape.bos] if shape.bos is not None else []
    ends = shape.eos if isinstance(shape.eos, list) else [shape.eos] if shape.eos is not None else []
    return torch.tensor(begin + ids + ends[:1], dtype=torch.int32)


def read(path, target_directory, shape):
    """The tokens of a file, i32 [tokens]. Throws InputError."""
    tokens = _read_tokens(path) if is_tokens(path) else _read_text(path, target_directory, shape)
    if int(tokens.max()) >= shape.vocab:
        raise InputError(f"{path}: has token {int(tokens.max())}, the target's vocabulary ends at {shape.vocab - 1}")
    return tokens


class Corpus:
    def __init__(self, files):
        """files: i32 tensors. The last tokens of each are held out; rows come from what stands before them."""
        held = [min(HELD_OUT_TOKENS, len(tokens) // 20) for tokens in files]
        self._files = [tokens[:len(tokens) - n] for tokens, n in zip(files, held)]
        self.held_out = torch.cat([tokens[len(tokens) - n:] for tokens, n in zip(files, held)])
        self.tokens = sum(len(tokens) for tokens in self._files)

    def rows(self, count, length, random):
        """i64 [count, length], each from a place of its own; `random`: a torch.Generator of the CPU."""
        weights = torch.tensor([max(0, len(tokens) - length + 1) for tokens in self._files], dtype=torch.float64)
        if weights.sum() == 0:
            raise InputError(f"the text is too short: {self.tokens} tokens to train on, rows have {length}; "
                             "give longer texts")
        rows = []
        for i in torch.multinomial(weights, count, replacement=True, generator=random).tolist():
            begin = int(torch.randint(int(weights[i]), (), generator=random))
            rows.append(self._files[i][begin:begin + length])
        return torch.stack(rows).long()


def open_corpus(paths, target_directory, shape):
    """The Corpus of some files. Throws InputError."""
    return Corpus([read(path, target_directory, shape) for path in paths])
