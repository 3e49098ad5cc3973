"""Weights for a tiny model whose answers depend on all that it has read.

vLLM's own random weights (``--load-format dummy``) lie within 0.001 of zero: attention adds nothing, the last
token alone decides the next, and a model that reads somebody else's KV answers as if nothing had happened.
With weights of the usual size, and in single precision, so that the order of a sum decides nothing, one wrong
block changes the answer.

Only printable characters have a row in the output matrix. So every answer is text that becomes the very same
tokens when a client sends it back.
"""

import json
import math
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from pdscale_e2e.engines.command import Vllm

PRINTABLE: Final = 94  # tokens 0 to 93 of a byte-level tokenizer in the order of its alphabet: "!" to "~"
_SEED: Final = 12
_SHARP: Final = 3.0  # attention that picks few tokens: the farther ones count as much as the near

Tensors = Mapping[str, "np.ndarray[Any, np.dtype[np.float32]]"]


def with_weights(vllm: Vllm, folder: Path) -> Vllm:
    """The same model with weights, in ``folder``."""
    shutil.copytree(vllm.model, folder, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    config["torch_dtype"] = "float32"
    (folder / "config.json").write_text(json.dumps(config))
    write_safetensors(folder / "model.safetensors", llama(config))
    return Vllm(vllm.command, folder)


def llama(config: Mapping[str, Any]) -> Tensors:
    """Gaussian matrices that keep the size of what passes through them; norms of one."""
    chance = np.random.default_rng(_SEED)
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    queries = config["num_attention_heads"] * config["head_dim"]

    def matrix(rows: int, columns: int, gain: float = 1.0) -> "np.ndarray[Any, np.dtype[np.float32]]":
        return (chance.standard_normal((rows, columns)) * gain / math.sqrt(columns)).astype(np.float32)

    ones = np.ones(hidden, dtype=np.float32)
    found = {"model.embed_tokens.weight": matrix(config["vocab_size"], hidden, math.sqrt(hidden))}
    for number in range(config["num_hidden_layers"]):
        layer = f"model.layers.{number}"
        found |= {
            f"{layer}.input_layernorm.weight": ones,
            f"{layer}.self_attn.q_proj.weight": matrix(queries, hidden, _SHARP),
            f"{layer}.self_attn.k_proj.weight": matrix(keys, hidden),
            f"{layer}.self_attn.v_proj.weight": matrix(keys, hidden, _SHARP),
            f"{layer}.self_attn.o_proj.weight": matrix(hidden, queries),
            f"{layer}.post_attention_layernorm.weight": ones,
            f"{layer}.mlp.gate_proj.weight": matrix(inner, hidden),
            f"{layer}.mlp.up_proj.weight": matrix(inner, hidden),
            f"{layer}.mlp.down_proj.weight": matrix(hidden, inner),
        }
    head = matrix(config["vocab_size"], hidden)
    head[PRINTABLE:] = 0.0
    return found | {"model.norm.weight": ones, "lm_head.weight": head}


def write_safetensors(path: Path, tensors: Tensors) -> None:
    """The format is a length, a JSON header that says where each tensor lies, and the tensors."""
    header, parts, end = {}, [], 0
    for name, tensor in tensors.items():
        part = np.ascontiguousarray(tensor, dtype="<f4").tobytes()
        where = [end, end + len(part)]
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": where}
        parts.append(part)
        end += len(part)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))
