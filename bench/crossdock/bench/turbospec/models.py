"""Models small enough to be made where they are needed: with random weights, or trained quickly.

An oracle drafts whatever the model is, so random weights do for it. That a draft model is accepted
as often as it deserves takes two models that know the same text: they are trained on the sources of
Python's standard library, which every machine has.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crossdock.bench.errors import BaselineMissing

VOCABULARY = 512
POSITIONS = 2048
"""Tokens that a model can look back on."""
SEED = 7


@dataclasses.dataclass(frozen=True)
class Shape:
    """How large a Llama is."""

    hidden: int
    layers: int
    heads: int


TINY = Shape(hidden=64, layers=2, heads=2)
"""Its steps cost what the engine itself costs: for a clock that charges something else."""
SMALL = Shape(hidden=256, layers=4, heads=8)
"""Its tokens cost enough to be seen beside what the engine costs."""
TARGET = Shape(hidden=128, layers=4, heads=4)
DRAFT = Shape(hidden=64, layers=1, heads=2)


def random_model(folder: Path, shape: Shape) -> Path:
    """A model with random weights in ``folder``, made when it is not there yet.

    Raises:
        BaselineMissing: transformers is not installed.
    """
    name = f"random-{shape.hidden}x{shape.layers}"
    return _kept(folder / name, lambda fresh: _write_random(fresh, shape))


def trained_pair(folder: Path, steps: int, tell: Callable[[str], object]) -> tuple[Path, Path]:
    """A target and a draft model that were trained on the same text, with their tokenizer.

    Args:
        folder: where they are kept; what is there already is not trained again.
        steps: of training, for each.
        tell: is told how it goes.

    Raises:
        BaselineMissing: transformers is not installed.
    """
    from crossdock.bench.turbospec import training

    pair = _kept(folder / f"trained-{steps}", lambda fresh: training.write_pair(fresh, steps, tell))
    return pair / "target", pair / "draft"


def llama(shape: Shape, spread: float) -> Any:
    """A Llama of this shape with weights from a fixed seed and this standard deviation."""
    try:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM
    except ImportError as error:
        raise BaselineMissing(
            f"the models of this bench are written with transformers ({error}): "
            "pip install transformers"
        ) from error
    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=shape.hidden,
        intermediate_size=shape.hidden * 3,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=POSITIONS,
        initializer_range=spread,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).to(torch.float32)


def _write_random(folder: Path, shape: Shape) -> None:
    llama(shape, spread=0.15).save_pretrained(folder)


def _kept(folder: Path, write: Callable[[Path], object]) -> Path:
    """The folder, written as a whole or not at all."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        write(fresh)
        fresh.chmod(0o755)
        try:
            fresh.rename(folder)
        except OSError:
            if not folder.is_dir():  # else somebody else was faster, with the same result
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder
