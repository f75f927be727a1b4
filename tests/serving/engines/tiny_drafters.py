"""Writes what proposes for the small models of ``tiny_dense``, in the formats of each method.

``eagle3`` and ``medusa`` are heads of ``target``; ``mimo`` is a target of its own, whose checkpoint
has the layer that predicts several tokens. None was trained: all say about what the target would
say again, which is right where it repeats itself.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

from tests.serving.engines import tiny_dense

MEDUSA_HEADS = 5
_QUIET = 0.1
"""Of what a drafter's own layer adds, so that it does not drown the target's hidden state."""
_LAYER = "model.layers.0."


def write(folder: pathlib.Path) -> None:
    """All of them, beside ``target``."""
    from transformers import LlamaForCausalLM

    target = LlamaForCausalLM.from_pretrained(folder / "target")
    _eagle3(target, folder / "eagle3")
    _medusa(target, folder / "medusa")
    _mimo(folder / "mimo")


def _eagle3(target: Any, folder: pathlib.Path) -> None:
    import torch

    state, size = target.state_dict(), target.config.hidden_size
    weights = {
        "norm.weight": state["model.norm.weight"],
        "lm_head.weight": state["lm_head.weight"],
        "midlayer.hidden_norm.weight": torch.ones(size),
        # The hidden states of three layers come in; the last one goes on.
        "fc.weight": torch.cat([torch.zeros(size, 2 * size), torch.eye(size)], dim=1),
    }
    for name, weight in state.items():
        if name.startswith(_LAYER):
            weights["midlayer." + name.removeprefix(_LAYER)] = weight
    for name in "qkv":
        half = f"midlayer.self_attn.{name}_proj.weight"
        weights[half] = torch.cat([weights[half], weights[half]], dim=1)
    for name in ("self_attn.o_proj", "mlp.down_proj"):
        weights[f"midlayer.{name}.weight"] = weights[f"midlayer.{name}.weight"] * _QUIET
    config = {
        **target.config.to_dict(),
        "architectures": ["LlamaForCausalLMEagle3"],
        "num_hidden_layers": 1,
        "draft_vocab_size": target.config.vocab_size,
        "eagle_aux_hidden_state_layer_ids": [0, 1, 2],
    }
    _save(folder, config, weights)


def _medusa(target: Any, folder: pathlib.Path) -> None:
    import torch

    torch.manual_seed(1)
    size = target.config.hidden_size
    weights = {}
    for head in range(MEDUSA_HEADS):
        weights[f"blocks.{head}.layers.0.weight"] = torch.randn(size, size) * _QUIET
        weights[f"lm_heads.{head}.weight"] = target.state_dict()["lm_head.weight"]
    config = {
        "model_type": "medusa",
        "architectures": ["MedusaModel"],
        "hidden_size": size,
        "vocab_size": target.config.vocab_size,
        "num_heads": MEDUSA_HEADS,
        "num_hidden_layers": 1,
    }
    _save(folder, config, weights)


def _mimo(folder: pathlib.Path) -> None:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(2)
    config = Qwen2Config(
        vocab_size=tiny_dense.VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        initializer_range=0.15,
        tie_word_embeddings=False,
        bos_token_id=tiny_dense.BOS,
        eos_token_id=tiny_dense.EOS,
        pad_token_id=tiny_dense.PAD,
    )
    weights = Qwen2ForCausalLM(config).to(torch.float32).state_dict()
    layer = "model.mtp_layers.0."
    for name in [name for name in weights if name.startswith(_LAYER)]:
        weights[layer + name.removeprefix(_LAYER)] = weights[name]
    for name in ("self_attn.o_proj", "mlp.down_proj"):
        weights[f"{layer}{name}.weight"] = weights[f"{layer}{name}.weight"] * _QUIET
    for name in ("token_layernorm", "hidden_layernorm", "final_layernorm"):
        weights[f"{layer}{name}.weight"] = torch.ones(config.hidden_size)
    eye = torch.eye(config.hidden_size)
    weights[f"{layer}input_proj.weight"] = torch.cat([eye, eye * _QUIET], dim=1)
    text = {
        **config.to_dict(),
        "architectures": ["MiMoForCausalLM"],
        "num_nextn_predict_layers": 1,
    }
    _save(folder, text, weights)
    tiny_dense.tokenizer().save_pretrained(folder)


def _save(folder: pathlib.Path, config: dict[str, Any], weights: dict[str, Any]) -> None:
    from safetensors.torch import save_file

    folder.mkdir()
    kept = {name: weight.detach().clone().contiguous() for name, weight in weights.items()}
    save_file(kept, str(folder / "model.safetensors"))
    (folder / "config.json").write_text(json.dumps(config))
