"""Networks drawn at random: steps that read what earlier steps gave, of all kinds at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (2, 4, 6)


@dataclass(frozen=True)
class Step:
    """What is computed, of which earlier values (0 is the input), with which modules."""

    kind: str
    sources: tuple[int, ...]
    modules: tuple[int, ...] = ()


class Drawn(nn.Module):
    """Runs its steps; all values keep their size in space, and end in one sum and the last."""

    def __init__(self, modules: list[nn.Module], steps: list[Step]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)
        self.steps = steps

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        values = [x]
        for step in self.steps:
            values.append(self._run(step, [values[source] for source in step.sources]))
        total = values[0].mean()
        for value in values[1:]:
            total = total + value.sin().mean()
        return values[-1], total

    def _run(self, step: Step, given: list[Tensor]) -> Tensor:
        parts = [self.parts[number] for number in step.modules]
        first = given[0]
        match step.kind:
            case "conv-bn":
                return parts[1](parts[0](first))  # type: ignore[no-any-return]
            case "keyword":
                return parts[1](input=parts[0](input=first))  # type: ignore[no-any-return]
            case "used twice":
                out = parts[0](first)
                return parts[1](out) + out  # type: ignore[no-any-return]
            case "two BNs":
                out = parts[0](first)
                return parts[1](out) * parts[2](out)  # type: ignore[no-any-return]
            case "pre-activation":
                return parts[0](parts[1](first).relu())  # type: ignore[no-any-return]
            case "cat":
                return parts[0](torch.cat(given, 1))  # type: ignore[no-any-return]
            case "between":
                return parts[1](parts[0](first).tanh())  # type: ignore[no-any-return]
            case "in place":
                return parts[1](parts[0](first).mul_(1.5))  # type: ignore[no-any-return]
            case "functional":
                conv: Any = parts[0]
                out = functional.conv2d(first, conv.weight, conv.bias, padding=1)
                return parts[1](out)  # type: ignore[no-any-return]
            case _:
                return functional.relu(first) + first


class _Drawing:
    """A network that grows by steps."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.modules: list[nn.Module] = []
        self.steps: list[Step] = []
        self.widths = [WIDTHS[1]]

    def grow(self) -> None:
        kind = self.draw(st.sampled_from(KINDS))
        source, out = self._source(), self.draw(st.sampled_from(WIDTHS))
        width = self.widths[source]
        match kind:
            case "cat":
                other = self._source()
                out = width + self.widths[other]
                self._add(kind, (source, other), (self._norm(out),), out)
            case "functional":
                part = self._keep(nn.Conv2d(width, out, 3))
                self._add(kind, (source,), (part, self._norm(out)), out)
            case "pre-activation":
                self._add(kind, (source,), (self._conv(width, out), self._norm(width)), out)
            case "two BNs":
                parts = (self._conv(width, out), self._norm(out), self._norm(out))
                self._add(kind, (source,), parts, out)
            case "shared" | "other":
                self._again(source, kind)
            case _:
                self._add(kind, (source,), (self._conv(width, out), self._norm(out)), out)

    def grow_pair(self) -> None:
        """A convolution and its BN, at the end."""
        source, out = len(self.widths) - 1, WIDTHS[0]
        width = self.widths[source]
        self._add("conv-bn", (source,), (self._conv(width, out), self._norm(out)), out)

    def _again(self, source: int, kind: str) -> None:
        """With the modules of an earlier step, where one fits."""
        width = self.widths[source]
        for number, step in enumerate(self.steps):
            fits = step.kind == "conv-bn" and self.widths[step.sources[0]] == width
            if fits and kind == "shared":
                self._add("conv-bn", (source,), step.modules, self.widths[number + 1])
                return
        self._add("other", (source,), (), width)

    def _source(self) -> int:
        return self.draw(st.integers(0, len(self.widths) - 1))

    def _add(self, kind: str, sources: tuple[int, ...], parts: tuple[int, ...], out: int) -> None:
        self.steps.append(Step(kind, sources, parts))
        self.widths.append(out)

    def _keep(self, module: nn.Module) -> int:
        self.modules.append(module)
        return len(self.modules) - 1

    def _norm(self, width: int) -> int:
        return self._keep(nn.BatchNorm2d(width, affine=self.draw(st.booleans())))

    def _conv(self, inputs: int, outputs: int) -> int:
        bias = self.draw(st.booleans())
        kind = self.draw(st.sampled_from(["plain", "grouped", "transposed", "point"]))
        if kind == "transposed":
            return self._keep(
                nn.ConvTranspose2d(inputs, outputs, 3, padding=1, groups=2, bias=bias)
            )
        if kind == "point":
            return self._keep(nn.Conv2d(inputs, outputs, 1, bias=bias))
        groups = 2 if kind == "grouped" else 1
        return self._keep(nn.Conv2d(inputs, outputs, 3, padding="same", groups=groups, bias=bias))


@st.composite
def networks(draw: st.DrawFn) -> Drawn:
    """A network whose input has WIDTHS[1] channels."""
    drawing = _Drawing(draw)
    for _ in range(draw(st.integers(2, 6))):
        drawing.grow()
    if not any(isinstance(part, nn.BatchNorm2d) for part in drawing.modules):
        drawing.grow_pair()
    return Drawn(drawing.modules, drawing.steps)


KINDS = (
    "conv-bn", "conv-bn", "keyword", "used twice", "two BNs", "pre-activation", "cat", "between",
    "in place", "functional", "shared", "shared", "other",
)  # fmt: skip
