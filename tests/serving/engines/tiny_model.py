"""Writes a small Qwen3-MoE with random weights: ``python tiny_model.py FOLDER``.

Weights are large enough for tokens to differ, and few enough for a test: 2 layers, 8 experts of
which each token chooses 4. Prompts are token ids, so there is no tokenizer.
"""

from __future__ import annotations

import random
import sys

VOCABULARY = 256
REQUESTS = 200
TOKENS = 16


def prompts() -> list[list[int]]:
    """The prompts of all tests."""
    dice = random.Random(7)
    return [
        [dice.randrange(3, VOCABULARY) for _ in range(dice.randrange(4, 24))]
        for _ in range(REQUESTS)
    ]


def write(folder: str) -> None:
    """The model, as ``from_pretrained`` and vLLM read it."""
    import torch
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    torch.manual_seed(0)
    config = Qwen3MoeConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=128,
        moe_intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        num_experts=8,
        num_experts_per_tok=4,
        norm_topk_prob=True,
        max_position_embeddings=512,
        initializer_range=0.15,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    Qwen3MoeForCausalLM(config).to(torch.float32).save_pretrained(folder)


if __name__ == "__main__":
    write(sys.argv[1])
