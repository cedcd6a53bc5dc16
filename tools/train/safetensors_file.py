"""Reads and writes safetensors files: eight bytes of header length, a JSON header, the tensors' bytes.

Format: the safetensors README (header of name -> dtype, shape, data_offsets). Own code, so that a machine with PyTorch alone,
without even NumPy, can train: a GPU machine needs no network.
"""

import ctypes
import json
import os

import torch

from input_error import InputError

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
MOST_HEADER_BYTES = 100 << 20


def _header(file, path, size):
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, MOST_HEADER_BYTES):
        raise InputError(f"{path}: is no safetensors file, or cut short: its header would have {length} bytes")
    try:
        header = json.loads(file.read(length))
    except ValueError as error:
        raise InputError(f"{path}: the header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise InputError(f"{path}: the header is no JSON object")
    header.pop("__metadata__", None)
    return header, 8 + length


def read(path, dtype=None):
    """All tensors of a file by name, on the CPU; in `dtype`, where it is given."""
    tensors = {}
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            header, begin = _header(file, path, size)
            for name, entry in header.items():
                try:
                    kind, shape = DTYPES[entry["dtype"]], [int(n) for n in entry["shape"]]
                    first, last = entry["data_offsets"]
                except (KeyError, TypeError, ValueError):
                    raise InputError(f"{path}: tensor {name}: expected F32, F16 or BF16, a shape and data_offsets, "
                                     f"found {entry}") from None
                elements = 1
                for n in shape:
                    elements *= n
                if last - first != elements * kind.itemsize or first < 0 or begin + last > size:
                    raise InputError(f"{path}: tensor {name}: bytes {first} to {last} do not hold {shape} "
                                     f"of {entry['dtype']}, or lie behind the file's end")
                file.seek(begin + first)
                data = bytearray(file.read(last - first))
                tensor = torch.frombuffer(data, dtype=kind) if elements else torch.empty(0, dtype=kind)
                tensors[name] = tensor.reshape(shape).to(dtype or kind)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    return tensors


def write(path, tensors):
    """Writes tensors by name, in the order of their names, behind a temporary name: what stands at `path` is whole."""
    tensors = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in tensors.items():
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path + ".new", "wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for tensor in tensors.values():
            file.write(ctypes.string_at(tensor.data_ptr(), tensor.numel() * tensor.element_size()))
    os.replace(path + ".new", path)
