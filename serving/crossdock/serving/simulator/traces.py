"""Files of recorded requests: when they came, how long they and their answers were.

Two formats, told apart by their header:

- the Azure LLM inference traces of 2023 (github.com/Azure/AzurePublicDataset, CC-BY):
  ``TIMESTAMP,ContextTokens,GeneratedTokens``, the time as a date with up to seven digits of a
  second's fraction;
- BurstGPT (github.com/HPMLL/BurstGPT): ``Timestamp,Model,Request tokens,Response tokens,Total
  tokens,Log Type``, the time in seconds. Requests that failed have no response: left out.
"""

from __future__ import annotations

import csv
import dataclasses
import datetime
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from crossdock.proxy.errors import ArgumentError

AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
BURSTGPT = ("Timestamp", "Model", "Request tokens", "Response tokens", "Total tokens", "Log Type")
ROWS_MAX = 1_000_000
TOKENS_MAX = 10_000_000


class TraceError(ArgumentError):
    """A file of requests that cannot be read. ``line`` counts from 1, the header included."""

    def __init__(self, name: str, line: int, problem: str) -> None:
        super().__init__(f"{name}, line {line}: {problem}")
        self.line = line


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A recorded request."""

    seconds: float
    """Since the first of the file."""
    prompt: int
    """Tokens."""
    output: int
    """Tokens."""


def read(path: Path, rows_max: int = ROWS_MAX) -> list[Row]:
    """The requests of a file, by time.

    Raises:
        TraceError: the file is of no known format, or a line is not of its format.
        ArgumentError: there is no such file, or it cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return parse(file, str(path), rows_max)
    except OSError as error:
        raise ArgumentError(f"the trace {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TraceError(str(path), 1, f"not text in UTF-8: {error.reason}") from error


def parse(lines: Iterable[str], name: str = "the trace", rows_max: int = ROWS_MAX) -> list[Row]:
    """The requests of lines, by time; at most the first ``rows_max``.

    Raises:
        TraceError: see ``read``.
    """
    rows = []
    reader = csv.reader(lines, strict=True)
    try:
        for time, prompt, output in _raw(reader, name):
            rows.append((time, prompt, output))
            if len(rows) >= rows_max:
                break
    except csv.Error as error:
        raise TraceError(name, max(1, reader.line_num), f"not CSV: {error}") from error
    if not rows:
        raise TraceError(name, max(1, reader.line_num), "there is no request in it")
    rows.sort()
    first = rows[0][0]
    return [Row(time - first, prompt, output) for time, prompt, output in rows]


def _raw(reader: Iterator[list[str]], name: str) -> Iterator[tuple[float, int, int]]:
    """(seconds, prompt, output) of each request that has an answer."""
    header = tuple(field.strip() for field in next(reader, []))
    if header not in (AZURE, BURSTGPT):
        known = " or ".join(",".join(names) for names in (AZURE, BURSTGPT))
        raise TraceError(name, 1, f"the header is {','.join(header)!r}; expected {known}")
    time, prompt, output = (0, 1, 2) if header == AZURE else (0, 2, 3)
    least = 1 if header == AZURE else 0
    for fields in reader:
        line: int = reader.line_num  # type: ignore[attr-defined]
        if not fields:
            continue
        if len(fields) != len(header):
            raise TraceError(name, line, f"{len(fields)} fields, but the header has {len(header)}")
        seconds = _date if header == AZURE else _seconds
        row = (
            seconds(fields[time], name, line),
            _tokens(fields[prompt], header[prompt], least, name, line),
            _tokens(fields[output], header[output], least, name, line),
        )
        if row[1] and row[2]:
            yield row


def _date(text: str, name: str, line: int) -> float:
    """Seconds since 1970 of `2023-11-16 18:15:46.6805900`."""
    whole, _, fraction = text.strip().partition(".")
    try:
        moment = datetime.datetime.strptime(whole, "%Y-%m-%d %H:%M:%S")
        if fraction and not (fraction.isascii() and fraction.isdigit()):
            raise ValueError(fraction)
        second = float(f"0.{fraction or 0}")
    except ValueError:
        raise TraceError(
            name, line, f"{AZURE[0]} is {text!r}; expected as 2023-11-16 18:15:46.6805900"
        ) from None
    return moment.replace(tzinfo=datetime.UTC).timestamp() + second


def _seconds(text: str, name: str, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise TraceError(name, line, f"{BURSTGPT[0]} is {text!r}; expected seconds from 0 on")
    return value


def _tokens(text: str, column: str, least: int, name: str, line: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not least <= value <= TOKENS_MAX:
        raise TraceError(
            name, line, f"{column} is {text!r}; expected a number from {least} to {TOKENS_MAX}"
        )
    return value
