"""The report as text: columns as nccl-tests prints them, `#` before everything that is not data."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from crossdock.bench.record import Record

MISSING = "-"
Value = str | int | float | None


@dataclass(frozen=True)
class Column:
    """A column: the name of its value in a row, its unit, its width, its digits."""

    name: str
    unit: str = ""
    width: int = 9
    digits: int | None = None
    left: bool = False

    def cell(self, value: Value) -> str:
        """The value, or a dash where there is none."""
        if value is None:
            text = MISSING
        elif self.digits is not None and not isinstance(value, str):
            text = f"{value:.{self.digits}f}"
        else:
            text = str(value)
        return self.placed(text)

    def placed(self, text: str) -> str:
        """The text at the column's width."""
        return text.ljust(self.width) if self.left else text.rjust(self.width)


def say(line: str = "") -> None:
    """Print a line of the report, at once: others may read along."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def head(record: Record) -> list[str]:
    """What the figures depend on."""
    host = record.machine
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    settings = ", ".join(f"{name} {value}" for name, value in record.settings.items())
    lines = [
        f"crossdock bench {record.question}, {record.started}, git {record.git}",
        versions,
        f"{host.cpu}, cores {_listed(host.cpuset)} of {host.cores}, load {host.load[0]:.2f}",
        f"{host.memory_bytes / 2**30:.0f} GiB, Linux {host.kernel} {host.architecture}",
        settings,
        *record.notes,
    ]
    return [f"# {line}" for line in lines]


def titles(columns: Sequence[Column]) -> list[str]:
    """Two lines: names and units."""
    names = " ".join(column.placed(column.name) for column in columns)
    units = " ".join(c.placed(f"({c.unit})" if c.unit else "") for c in columns)
    return [f"# {names}".rstrip(), f"# {units}".rstrip()]


def line(columns: Sequence[Column], row: Mapping[str, Value]) -> str:
    """One row of data, under the titles."""
    return "  " + " ".join(column.cell(row.get(column.name)) for column in columns).rstrip()


def table(columns: Sequence[Column], rows: Iterable[Mapping[str, Value]]) -> list[str]:
    """Titles and rows."""
    return [*titles(columns), *(line(columns, row) for row in rows)]


def tail(record: Record) -> list[str]:
    """Whether all was right."""
    checked = [series for series in record.series if series.wrong is not None]
    return [f"# wrong: {record.wrong} in {len(checked)} checked series"]


def _listed(cores: Sequence[int]) -> str:
    if len(cores) > 1 and list(cores) == list(range(cores[0], cores[-1] + 1)):
        return f"{cores[0]}-{cores[-1]}"
    return ",".join(map(str, cores))
