"""Shape: what config.json says of a Llama model, read as the runtime reads it (models/config.cc), and written again."""

import dataclasses
import json
import os

from input_error import InputError

ROPE_TYPES = ("default", "linear", "yarn", "llama3")


@dataclasses.dataclass(frozen=True)
class Rope:
    type: str = "default"
    theta: float = 10000.0
    factor: float = 1.0
    original_positions: int = 0  # yarn, llama3: of the model before it was extended
    beta_fast: float = 32.0  # yarn, as all below but the last two
    beta_slow: float = 1.0
    truncate: bool = True
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    low_freq_factor: float = 1.0  # llama3
    high_freq_factor: float = 4.0


@dataclasses.dataclass(frozen=True)
class Shape:
    vocab: int
    hidden: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    max_positions: int = 2048
    rms_norm_eps: float = 1e-5
    attention_bias: bool = False
    mlp_bias: bool = False
    tied_embeddings: bool = False
    bos: int | None = None
    eos: object = None  # a token or a list of them, as the file has it
    rope: Rope = Rope()


def _without_nulls(fields):
    return {name: value for name, value in fields.items() if value is not None}


def _rope(config, max_positions, path):
    scaling = _without_nulls(config.get("rope_scaling") or config.get("rope_parameters") or {})
    # Where a file has both spellings, transformers takes the older one.
    theta = float(scaling.get("rope_theta", config.get("rope_theta", 10000.0)))
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind not in ROPE_TYPES:
        raise InputError(f"{path}: rope_type: found {kind!r}, expected one of {', '.join(ROPE_TYPES)}")
    if kind == "default":
        return Rope(theta=theta)
    original = config.get("original_max_position_embeddings",
                          scaling.get("original_max_position_embeddings", max_positions))
    known = {field.name for field in dataclasses.fields(Rope)} - {"type", "theta", "factor", "original_positions"}
    factor = float(scaling.get("factor", max(1.0, max_positions / original) if kind == "yarn" else 1.0))
    return Rope(type=kind, theta=theta, factor=factor, original_positions=int(original),
                **{name: scaling[name] for name in known if name in scaling})


def read(directory):
    """The Shape of a model directory. Throws InputError."""
    path = os.path.join(directory, "config.json")
    try:
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a Hugging Face model directory") from None
    except ValueError as error:
        raise InputError(f"{path}: is not JSON: {error}") from None
    if not isinstance(config, dict) or config.get("model_type", "llama") != "llama":
        raise InputError(f"{path}: expected model_type \"llama\"")
    config = _without_nulls(config)
    if "quantization_config" in config:
        raise InputError(f"{path}: quantised checkpoints cannot be read")
    try:
        hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        max_positions = int(config.get("max_position_embeddings", 2048))
        return Shape(vocab=int(config["vocab_size"]), hidden=hidden, ffn=int(config["intermediate_size"]),
                     layers=int(config["num_hidden_layers"]), heads=heads,
                     kv_heads=int(config.get("num_key_value_heads", heads)),
                     head_dim=int(config.get("head_dim", hidden // heads)), max_positions=max_positions,
                     rms_norm_eps=float(config.get("rms_norm_eps", 1e-6)),
                     attention_bias=bool(config.get("attention_bias", False)),
                     mlp_bias=bool(config.get("mlp_bias", False)),
                     tied_embeddings=bool(config.get("tie_word_embeddings", False)), bos=config.get("bos_token_id"),
                     eos=config.get("eos_token_id"), rope=_rope(config, max_positions, path))
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise InputError(f"{path}: a field is missing or of the wrong kind: {error!r}") from None


def _rope_json(rope):
    if rope.type == "default":
        return None
    scaling = {"type": rope.type, "rope_type": rope.type, "factor": rope.factor}
    if rope.type in ("yarn", "llama3"):
        scaling["original_max_position_embeddings"] = rope.original_positions
    defaults = Rope()
    for field in dataclasses.fields(Rope):
        value = getattr(rope, field.name)
        set_apart = rope.type == "llama3" and field.name.endswith("freq_factor")
        if field.name not in ("type", "theta", "factor", "original_positions"):
            if set_apart or value != getattr(defaults, field.name):
                scaling[field.name] = value
    return scaling


def write(directory, shape, dtype_name):
    """Writes config.json; `dtype_name` is torch's: "float16"."""
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": shape.hidden,
              "intermediate_size": shape.ffn, "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
              "num_key_value_heads": shape.kv_heads, "head_dim": shape.head_dim, "vocab_size": shape.vocab,
              "hidden_act": "silu", "rms_norm_eps": shape.rms_norm_eps, "rope_theta": shape.rope.theta,
              "attention_bias": shape.attention_bias, "mlp_bias": shape.mlp_bias,
              "tie_word_embeddings": shape.tied_embeddings, "bos_token_id": shape.bos, "eos_token_id": shape.eos,
              "torch_dtype": dtype_name, "use_cache": True, "max_position_embeddings": shape.max_positions,
              "rope_scaling": _rope_json(shape.rope)}
    with open(os.path.join(directory, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=2)
        file.write("\n")
