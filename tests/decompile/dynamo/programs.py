"""Programs for the compiler: each way in which a graph can break, in each kind of Python around it.

A program is a function ``program(x, log)`` of a tensor and a list; what it returns, raises, and
leaves in the list is its behaviour.
"""

from __future__ import annotations

import contextlib
import linecache
import textwrap
from collections.abc import Callable
from typing import Any

import torch

Program = Callable[[torch.Tensor, list[Any]], Any]

BREAKS = {
    "no break": "pass",
    "graph_break": "torch._dynamo.graph_break()",
    "branch on data": "if x.sum() > 0:\n    x = x * 2\nelse:\n    x = x - 1",
    "item": "log.append(round(x.sum().item(), 3))",
    "builtin": "log.append(open.__name__ + repr(print('', end='')))",
}

AROUND = {
    "straight": """
        x = x.sin()
        {BREAK}
        return x.cos()
        """,
    "branch": """
        if x.shape[0] == 3:
            x = x + 1
            {BREAK}
        else:
            x = x - 1
        return x * 3
        """,
    "for": """
        for i in range(3):
            x = x + i
            {BREAK}
        return x
        """,
    "for with else": """
        for i in [1, 2]:
            x = x * i
            if i == 5:
                break
        else:
            x = x + 10
            {BREAK}
        return x
        """,
    "while": """
        n = 0
        while n < 2:
            n += 1
            x = x.tanh()
            {BREAK}
        return x, n
        """,
    "nested loops": """
        for i in range(2):
            for j in range(2):
                x = x + i * j
                {BREAK}
                if j:
                    continue
        return x
        """,
    "with no_grad": """
        with torch.no_grad():
            x = x + 1
            {BREAK}
            x = x * 2
        return x, torch.is_grad_enabled()
        """,
    "with of the user": """
        with leaving(log):
            x = x + 1
            {BREAK}
        return x
        """,
    "try finally": """
        try:
            x = x + 1
            {BREAK}
            return x.sin()
        finally:
            log.append("finally")
        """,
    "try except": """
        try:
            x = x.exp()
            {BREAK}
            if x.shape[0] == 4:
                raise ValueError("four")
        except ValueError as error:
            log.append(str(error))
            x = x - 4
        return x
        """,
    "raises": """
        x = x + 1
        {BREAK}
        if x.shape[0] == 4:
            raise KeyError("four")
        return x
        """,
    "closure": """
        scale = 2
        def scaled(y):
            return y * scale
        {BREAK}
        scale = 3
        return scaled(x)
        """,
    "closure that writes": """
        count = 0
        def counted(y):
            nonlocal count
            count += 1
            return y + count
        x = counted(x)
        {BREAK}
        x = counted(x)
        return x, count
        """,
    "function with defaults": """
        def shifted(y, by=2, *, times=3):
            return y * times + by
        x = shifted(x)
        {BREAK}
        return shifted(x, 1, times=2)
        """,
    "comprehension": """
        parts = [x * i for i in range(3)]
        {BREAK}
        return sum(parts) + x
        """,
    "dictionary": """
        kept = {"a": x, "b": x + 1}
        {BREAK}
        kept["c"] = kept["a"] * kept.pop("b")
        return kept
        """,
    "list changed in place": """
        parts = [x, x + 1, x + 2]
        del parts[-1]
        {BREAK}
        parts.append(x * 5)
        parts[0] = x
        return parts
        """,
    "argument changed in place": """
        log.append(1)
        x = x + len(log)
        {BREAK}
        log.insert(0, "first")
        return x
        """,
    "tensor changed in place": """
        y = x.clone()
        y.add_(1)
        {BREAK}
        y[0] = 7
        return y + x
        """,
    "tuple unpacked": """
        a, (b, *c) = x + 1, (x + 2, x + 3, x + 4)
        {BREAK}
        return a, b, c, x
        """,
    "generator": """
        def parts(y):
            for i in range(3):
                yield y + i
        total = x
        for part in parts(x):
            total = total + part
        {BREAK}
        return total + x
        """,
    "global": """
        global KEPT
        KEPT = x.shape[0]
        {BREAK}
        KEPT += 1
        return x + KEPT
        """,
    "object": """
        holder = Holder(x)
        holder.value = holder.value + 1
        {BREAK}
        holder.other = x
        return holder.value, holder.other, holder.doubled()
        """,
    "call with stars": """
        def combined(*parts, **named):
            return sum(parts) + sum(named.values())
        parts = (x, x + 1)
        named = {"a": x * 2}
        {BREAK}
        return combined(*parts, **named, b=x)
        """,
    "chained comparison": """
        n = x.shape[0]
        {BREAK}
        if 1 < n < 4 or n > 10:
            return x + n
        return x - n
        """,
    "conditional expression": """
        y = x + 1 if x.shape[0] > 3 else x - 1
        {BREAK}
        return (y and None) if x is None else y + x
        """,
    "formatted text": """
        text = f"{x.shape[0]!r:>4}|{x.dim():02d}"
        {BREAK}
        log.append(text)
        return x
        """,
    "walrus": """
        if (n := x.shape[0]) > 2:
            x = x + n
        {BREAK}
        return x, n
        """,
    "del": """
        y = x + 1
        z = y * 2
        del y
        {BREAK}
        return z + x
        """,
    "lambda": """
        twice = lambda y, n=2: y * n
        x = twice(x)
        {BREAK}
        return twice(x, 3)
        """,
    "inner call breaks": """
        def inner(x):
            x = x + 1
            {BREAK}
            return x * 2
        return inner(x) + inner(x + 1)
        """,
    "module": """
        x = LAYER(torch.nn.functional.pad(x, (0, 4 - x.shape[0])))
        {BREAK}
        return torch.relu(x)
        """,
    "slices": """
        y = x[1:]
        {BREAK}
        return y[::2], x[:-1], x[..., 0]
        """,
    "assert": """
        assert x.dim() == 1, "one dimension"
        {BREAK}
        return x + 1
        """,
    "match": """
        match x.shape[0]:
            case 3:
                x = x + 3
            case n if n > 3:
                x = x * n
        {BREAK}
        return x
        """,
    "star expression": """
        kept = [*log, x.shape[0]]
        {BREAK}
        return {**{"n": kept}, "x": x + 1}
        """,
    "early return": """
        if x.shape[0] == 4:
            return x
        {BREAK}
        return x + 1
        """,
    "hook": """
        y = x.clone().requires_grad_()
        {BREAK}
        return (y * y).sum(), x
        """,
    "zip and enumerate": """
        total = 0
        for i, (a, b) in enumerate(zip([x, x + 1], (2, 3), strict=True)):
            total = total + a * b + i
        {BREAK}
        return total + x
        """,
    "set": """
        seen = {1, 2}
        seen.add(x.shape[0])
        {BREAK}
        return sorted(seen), x + len(seen)
        """,
}

CASES = [(around, kind) for around in AROUND for kind in BREAKS]


class Holder:
    """An object with state."""

    def __init__(self, value: torch.Tensor) -> None:
        self.value = value

    def doubled(self) -> torch.Tensor:
        """Twice the value."""
        return self.value * 2


@contextlib.contextmanager
def leaving(log: list[Any]) -> Any:
    """Says when it is entered and left."""
    log.append("in")
    try:
        yield
    finally:
        log.append("out")


def source(around: str, kind: str) -> str:
    """The text of a program."""
    lines = []
    for line in textwrap.dedent(AROUND[around]).strip().splitlines():
        indent = line[: len(line) - len(line.lstrip())]
        placed = BREAKS[kind] if line.strip() == "{BREAK}" else line.strip()
        lines.append(textwrap.indent(placed, indent))
    return "def program(x, log):\n" + textwrap.indent("\n".join(lines), "    ") + "\n"


def program(around: str, kind: str) -> Program:
    """A fresh function, whose source a debugger and Dynamo can look up."""
    text = source(around, kind)
    name = f"<program {around}, {kind}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    torch.manual_seed(0)
    names: dict[str, Any] = {
        "torch": torch,
        "Holder": Holder,
        "leaving": leaving,
        "LAYER": torch.nn.Linear(4, 3),
        "__name__": "program",
    }
    exec(compile(text, name, "exec"), names)  # noqa: S102 - it is the text above
    made: Program = names["program"]
    return made


def inputs() -> list[torch.Tensor]:
    """Three calls: the second takes the other branch on data, the third has another shape."""
    return [torch.tensor([0.5, 1.0, 2.0]), torch.tensor([-0.5, -1.0, -2.0]), torch.ones(4)]


def behaviour(run: Program) -> list[Any]:
    """What the calls return, raise, and leave in their lists, as plain values."""
    seen = []
    for x in inputs():
        log: list[Any] = []
        try:
            result: Any = _plain(run(x, log))
        except Exception as error:  # noqa: BLE001 - it is part of the behaviour
            result = (type(error).__name__, str(error))
        seen.append((result, _plain(log), x.tolist()))
    return seen


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().tolist()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return value
