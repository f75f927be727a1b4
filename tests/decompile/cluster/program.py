"""What ranks of the tests run. Its words say in what they differ, and what happens at the end."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import torch

RANK = int(os.environ.get("RANK", "0"))
IS_LAST = int(os.environ.get("WORLD_SIZE", "1")) - 1 == RANK


def sized(x: torch.Tensor) -> torch.Tensor:
    return x.sin() + 1  # shape


def layer(x: torch.Tensor, training: bool) -> torch.Tensor:
    y = x.cos()
    if training:  # flag
        y = y + 1  # with the flag
    else:
        y = y - 1  # without the flag
    torch._dynamo.graph_break()  # break
    return y * 2


def left(x: torch.Tensor) -> torch.Tensor:
    return x.tan()


def right(x: torch.Tensor) -> torch.Tensor:
    return x.exp()


def main(words: list[str]) -> None:
    compiled = {
        one.__name__: torch.compile(one, backend=os.environ.get("BACKEND", "eager"), dynamic=False)
        for one in (sized, layer, left, right)
    }
    if "little" in words:
        compiled["left"](torch.ones(3))
        return
    compiled["sized"](torch.ones(4 if IS_LAST and "shape" in words else 3))
    compiled["layer"](torch.ones(3), IS_LAST and "flag" in words)
    if IS_LAST and "branch" in words:
        compiled["right"](torch.ones(3))  # right branch
    else:
        compiled["left"](torch.ones(3))  # left branch
    if "again" in words and IS_LAST:
        compiled["left"](torch.ones(5))  # again
    for word in words:
        if word.startswith("wait="):
            wait_for(Path(word.removeprefix("wait=")))
    if IS_LAST and "raise" in words:
        raise ValueError("as it was told")
    if "die" in words:
        if IS_LAST:
            wait_for(own_index(), "right" if "branch" in words else "left")
            time.sleep(2)  # for the thread that tells of it
            os.kill(os.getpid(), signal.SIGKILL)
        wait_for(Path("/nonexistent"))


def own_index() -> Path:
    """Of the dump of this rank."""
    folder = json.loads(os.environ["CROSSDOCK_DECOMPILE"])["folder"]
    return Path(folder) / f"rank_{RANK}" / "index.json"


def wait_for(path: Path, text: str = "") -> None:
    while not path.exists() or text not in path.read_text():
        time.sleep(0.05)  # waiting


if __name__ == "__main__":
    main(sys.argv[1:])
