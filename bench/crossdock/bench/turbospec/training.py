"""Trains a target and a draft model on Python's standard library, on a CPU, in a minute or two."""

from __future__ import annotations

import random
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crossdock.bench.turbospec import models

_BYTES = 3 << 20
_ROWS = 16
_COLUMNS = 128
_RATE = 3e-3
_WARM_STEPS = 20
_TELL_STEPS = 50


def text(limit_bytes: int = _BYTES) -> str:
    """Sources of the standard library, the same on each machine with this Python."""
    folder = Path(sysconfig.get_path("stdlib"))
    parts: list[str] = []
    size = 0
    for path in sorted(folder.glob("*.py")):
        part = path.read_text(errors="ignore")
        parts.append(part)
        size += len(part)
        if size >= limit_bytes:
            break
    return "".join(parts)[:limit_bytes]


def write_pair(folder: Path, steps: int, tell: Callable[[str], object]) -> None:
    """Train both and write them with their tokenizer to ``target`` and ``draft``."""
    import torch

    source = text()
    tokenizer = _tokenizer(source)
    tokens = torch.tensor(tokenizer.encode(source), dtype=torch.long)
    for name, shape in (("target", models.TARGET), ("draft", models.DRAFT)):
        model = models.llama(shape, spread=0.02)
        loss = _train(model, tokens, steps, tell, name)
        tell(f"{name}: trained to {loss:.2f} nats a token")
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


def prompts(folder: Path, count: int, length: int) -> list[list[int]]:
    """Tokens of the text that models in ``folder`` were trained on, from places of a fixed seed."""
    from transformers import AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder).encode(text())
    dice = random.Random(models.SEED)
    starts = [dice.randrange(len(tokens) - length) for _ in range(count)]
    return [tokens[start : start + length] for start in starts]


def _tokenizer(source: str) -> Any:
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "</s>"]
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        source.splitlines(keepends=True),
        vocab_size=models.VOCABULARY,
        special_tokens=special,
        show_progress=False,
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=trained._tokenizer,
        pad_token=special[0],
        bos_token=special[1],
        eos_token=special[2],
    )


def _train(model: Any, tokens: Any, steps: int, tell: Callable[[str], object], name: str) -> float:
    """Mean loss of the last steps."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / _WARM_STEPS, max(0.05, 1 - step / steps))
    )
    dice = torch.Generator().manual_seed(models.SEED)
    model.train()
    losses: list[float] = []
    for step in range(steps):
        starts = torch.randint(len(tokens) - _COLUMNS, (_ROWS,), generator=dice)
        rows = torch.stack([tokens[start : start + _COLUMNS] for start in starts.tolist()])
        loss = model(input_ids=rows, labels=rows).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if (step + 1) % _TELL_STEPS == 0:
            tell(f"{name}: step {step + 1} of {steps}, {losses[-1]:.2f} nats a token")
    recent = losses[-_TELL_STEPS:]
    return sum(recent) / len(recent)
