"""A log of decisions as a picture: four panels over one axis of time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crossdock.proxy.errors import ArgumentError
from crossdock.serving.turbospec.decisions import Decision

_INCHES = (11.0, 9.0)


def save(decisions: Sequence[Decision], path: Path) -> None:
    """Draw load, acceptance, length and goodput; a rank a line.

    Raises:
        ArgumentError: Matplotlib is not installed, or cannot write this kind of file.
    """
    try:
        from matplotlib import figure
    except ImportError as error:
        raise ArgumentError(
            f"--plot needs matplotlib ({error}): pip install 'crossdock[serving]'"
        ) from error
    canvas = figure.Figure(figsize=_INCHES, layout="constrained")
    kinds = canvas.canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in kinds:
        raise ArgumentError(
            f"--plot {path} ends in {path.suffix or 'nothing'}; "
            f"end it in one of {', '.join(sorted(kinds))}"
        )
    axes = canvas.subplots(4, 1, sharex=True)
    start = decisions[0].time - decisions[0].seconds
    for rank in sorted({d.rank for d in decisions}):
        own = [d for d in decisions if d.rank == rank]
        _draw(axes, own, [d.time - start for d in own], f"rank {rank}")
    for axis, name in zip(
        axes,
        ("decoding requests", "accepted of judged", "length of drafts", "tokens/s"),
        strict=True,
    ):
        axis.set_ylabel(name)
        axis.grid(alpha=0.3)
    axes[1].set_ylim(0, 1)
    axes[0].legend(fontsize="small")
    axes[3].legend(fontsize="small")
    axes[3].set_xlabel("seconds")
    canvas.savefig(path)


def _draw(axes: Any, own: Sequence[Decision], times: list[float], label: str) -> None:
    axes[0].step(times, [d.requests for d in own], where="pre", label=label)
    judged = [
        (t, d.acceptance) for t, d in zip(times, own, strict=True) if d.acceptance is not None
    ]
    axes[1].plot(*zip(*judged, strict=True) if judged else ((), ()), ".-", linewidth=0.8)
    lengths = [float("nan") if d.draft_length is None else d.draft_length for d in own]
    axes[2].step(times, lengths, where="pre")
    (measured,) = axes[3].plot(times, [d.goodput for d in own], label=f"{label}, measured")
    promised = [float("nan") if d.predicted_goodput is None else d.predicted_goodput for d in own]
    axes[3].plot(times, promised, "--", color=measured.get_color(), label=f"{label}, predicted")
