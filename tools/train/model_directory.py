"""Model directories as Hugging Face lays them out: config.json, safetensors in one file or several, the tokenizer."""

import json
import os
import shutil

import torch

import config
import safetensors_file
from input_error import InputError
from llama import Llama

TOKENIZER_FILES = ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json")


def _weights(directory, dtype):
    single, index = (os.path.join(directory, name) for name in ("model.safetensors", "model.safetensors.index.json"))
    if os.path.exists(single) or not os.path.exists(index):
        return safetensors_file.read(single, dtype)
    try:
        with open(index, encoding="utf-8") as file:
            names = sorted(set(json.load(file)["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{index}: expected an object with weight_map: {error!r}") from None
    tensors = {}
    for name in names:
        if os.path.basename(name) != name:
            raise InputError(f"{index}: {name}: expected the name of a file beside it")
        tensors.update(safetensors_file.read(os.path.join(directory, name), dtype))
    return tensors


def load(directory, dtype=torch.float32):
    """The model of a directory, on the CPU. Throws InputError."""
    shape = config.read(directory)
    with torch.device("meta"):
        model = Llama(shape)
    wanted, found = model.state_dict(), _weights(directory, dtype)
    if shape.tied_embeddings:
        found.pop("lm_head.weight", None)
    for name, tensor in wanted.items():
        if name not in found or found[name].shape != tensor.shape:
            has = f"one of {list(found[name].shape)}" if name in found else "none"
            raise InputError(f"{directory}: {name}: expected a tensor of {list(tensor.shape)}, found {has}")
    model.load_state_dict({name: found[name] for name in wanted}, assign=True)
    return model


def save(directory, model, dtype, tokenizer_from=None):
    """Writes all that the runtime needs. `tokenizer_from`: a model directory, or none where it has no tokenizer."""
    os.makedirs(directory, exist_ok=True)
    tensors = {name: tensor.to(dtype) for name, tensor in model.state_dict().items()}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{directory}: {name} has values that {dtype} cannot hold; training has diverged, or "
                             "another --dtype is needed")
    safetensors_file.write(os.path.join(directory, "model.safetensors"), tensors)
    config.write(directory, model.shape, str(dtype).removeprefix("torch."))
    if tokenizer_from and os.path.realpath(tokenizer_from) != os.path.realpath(directory):
        _copy_tokenizer(tokenizer_from, directory, model.shape.max_positions)


def _copy_tokenizer(source, directory, max_positions):
    for name in TOKENIZER_FILES:
        if os.path.exists(os.path.join(source, name)):
            shutil.copyfile(os.path.join(source, name), os.path.join(directory, name))
    path = os.path.join(directory, "tokenizer_config.json")
    if not os.path.exists(path):
        return
    try:
        with open(path, encoding="utf-8") as file:
            rules = json.load(file)
    except ValueError as error:
        raise InputError(f"{os.path.join(source, 'tokenizer_config.json')}: is not JSON: {error}") from None
    rules["model_max_length"] = max_positions
    with open(path, "w", encoding="utf-8") as file:
        json.dump(rules, file, indent=2)
        file.write("\n")
