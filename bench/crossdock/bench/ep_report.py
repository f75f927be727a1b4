"""The report of ``bench ep``: a row for each contender and step, then DeepEP's rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from crossdock.bench import plot, text
from crossdock.bench.baselines import gloo, memcpy
from crossdock.bench.record import Record, Series
from crossdock.bench.text import Column, Value

NOTES = (
    "a time is from the first rank's start to the last rank's end, all ranks beginning together;",
    "dispatch includes the layout; size is what the busiest rank receives, for all contenders;",
    "x gloo: how many times as fast as gloo; x memcpy: how many times as long as memcpy;",
    "both are medians of the ratios within rounds",
)

COLUMNS = (
    Column("size", "B", 10),
    Column("count", "rows", 7),
    Column("type", "", 5),
    Column("mode", "", 11),
    Column("step", "", 8),
    Column("#EP", "", 3),
    Column("contender", "", 13, left=True),
    Column("time", "us", 9, 0),
    Column("min", "us", 9, 0),
    Column("p99", "us", 9, 0),
    Column("cv", "", 5, 2),
    Column("algbw", "GB/s", 6, 2),
    Column("busbw", "GB/s", 6, 2),
    Column("x gloo", "", 6, 2),
    Column("x memcpy", "", 8, 2),
    Column("#wrong", "", 6),
)

DEEP_EP_COLUMNS = (
    Column("#EP", "", 3),
    Column("mode", "", 11),
    Column("type", "", 5),
    Column("contender", "", 13, left=True),
    Column("dispatch", "GB/s", 9, 2),
    Column("latency", "us", 9, 0),
    Column("combine", "GB/s", 9, 2),
    Column("latency", "us", 9, 0),
)


def lines(record: Record) -> Iterator[str]:
    """The whole report."""
    yield from text.head(record)
    yield "#"
    yield from text.table(COLUMNS, (row(record, series) for series in record.series))
    yield "#"
    yield "# as DeepEP prints it, medians"
    yield from _deep_ep_rows(record)
    yield "#"
    yield from text.tail(record)


def row(record: Record, series: Series) -> Mapping[str, Value]:
    """The numbers of one series."""
    summary = series.summary()
    ranks = int(series.point["ranks"])
    bandwidth = series.gigabytes_per_second()
    return {
        "size": series.bytes,
        "count": series.count,
        "type": dtype_of(series),
        "mode": series.point["mode"],
        "step": series.point["step"],
        "#EP": ranks,
        "contender": series.contender,
        "time": summary.p50 * 1e6,
        "min": summary.min * 1e6,
        "p99": summary.p99 * 1e6,
        "cv": summary.cv,
        "algbw": bandwidth,
        "busbw": bandwidth * (ranks - 1) / ranks,
        "x gloo": record.speed(series, gloo.NAME),
        "x memcpy": record.ratio(series, memcpy.NAME),
        "#wrong": series.wrong,
    }


def dtype_of(series: Series) -> str:
    """What travels: combine is always bf16."""
    return "bf16" if series.point["step"] == "combine" else str(series.point["dtype"])


def pairs(record: Record) -> Iterator[tuple[Series, Series]]:
    """Dispatch and combine of each contender and shape."""
    for dispatch in record.series:
        if dispatch.point["step"] != "dispatch":
            continue
        wanted = {**dispatch.point, "step": "combine"}
        for combine in record.series:
            if combine.point == wanted and combine.contender == dispatch.contender:
                yield dispatch, combine


def draw(record: Record, path: Path) -> None:
    """Bars of the times, a panel for each mode and step."""
    plot.save(
        record,
        path,
        panel_of=lambda s: f"{s.point['mode']} {s.point['step']}, {s.point['dtype']}",
        along="ranks",
        value=lambda s: s.summary().p50 * 1e3,
        unit="ms, median",
    )


def _deep_ep_rows(record: Record) -> Iterator[str]:
    yield from text.titles(DEEP_EP_COLUMNS)
    for dispatch, combine in pairs(record):
        values: tuple[Value, ...] = (
            dispatch.point["ranks"],
            dispatch.point["mode"],
            dispatch.point["dtype"],
            dispatch.contender,
            dispatch.gigabytes_per_second(),
            dispatch.summary().p50 * 1e6,
            combine.gigabytes_per_second(),
            combine.summary().p50 * 1e6,
        )
        cells = (c.cell(v) for c, v in zip(DEEP_EP_COLUMNS, values, strict=True))
        yield ("  " + " ".join(cells)).rstrip()
