"""Writes small random Llamas with a tokenizer of bytes: ``python tiny_dense.py FOLDER``.

``target``; ``draft``, which is the target with noise, so that some of its proposals are accepted;
and ``eagle``, a head of which hardly any is.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

_BYTES = 256
BOS, EOS, PAD = range(_BYTES, _BYTES + 3)
VOCABULARY = PAD + 1
_NOISE = 0.03


def write(folder: pathlib.Path) -> None:
    """All models."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        initializer_range=0.15,
        tie_word_embeddings=False,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
        architectures=["LlamaForCausalLM"],
    )
    model = LlamaForCausalLM(config).to(torch.float32)
    _save(model, folder / "target")
    _save_eagle(model, config, folder / "eagle")
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * weight.std() * _NOISE)
    _save(model, folder / "draft")


def _save(model: Any, folder: pathlib.Path) -> None:
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)


def _save_eagle(target: Any, config: Any, folder: pathlib.Path) -> None:
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    size = config.hidden_size
    weights = {
        name.removeprefix("model."): weight.clone()
        for name, weight in target.state_dict().items()
        if name.startswith("model.layers.0.") and "input_layernorm" not in name
    }
    weights["fc.weight"] = torch.cat([torch.eye(size) * 0.1, torch.eye(size)], dim=1)
    save_file(weights, str(folder / "model.safetensors"))
    text = {**config.to_dict(), "num_hidden_layers": 1}
    (folder / "config.json").write_text(json.dumps(text))


def tokenizer() -> Any:
    """A token for each byte, and three special ones."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(models.BPE({letter: place for place, letter in enumerate(alphabet)}, []))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]))
