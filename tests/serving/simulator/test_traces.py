"""Files of recorded requests are read, or refused with the line and the value."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serving.simulator.cases import COST, SHORT, scenario

from crossdock.proxy.errors import ArgumentError
from crossdock.serving.simulator.acceptance import Acceptance
from crossdock.serving.simulator.arrivals import Closed, Replay
from crossdock.serving.simulator.phases import Phase, Scenario
from crossdock.serving.simulator.traces import AZURE, BURSTGPT, Row, TraceError, parse, read
from crossdock.serving.simulator.workload import Workload

AZURE_LINES = [
    "TIMESTAMP,ContextTokens,GeneratedTokens",
    "2023-11-16 18:15:46.6805900,374,44",
    "2023-11-16 18:15:50.9951690,396,109",
    "2023-11-16 18:16:00,12,1",
]
BURSTGPT_LINES = [
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type",
    "5,ChatGPT,472,18,490,Conversation log",
    "45.5,GPT-4,1087,230,1317,API log",
    "47,ChatGPT,12,0,12,Conversation log",
]


def test_azure() -> None:
    rows = parse(AZURE_LINES)
    assert [(row.prompt, row.output) for row in rows] == [(374, 44), (396, 109), (12, 1)]
    assert [row.seconds for row in rows] == pytest.approx([0, 4.314579, 13.31941], abs=1e-5)


def test_burstgpt_without_requests_that_failed() -> None:
    assert parse(BURSTGPT_LINES) == [Row(0.0, 472, 18), Row(40.5, 1087, 230)]


def test_rows_come_by_time_and_as_many_as_asked() -> None:
    swapped = [AZURE_LINES[0], AZURE_LINES[2], AZURE_LINES[1]]
    assert [row.prompt for row in parse(swapped)] == [374, 396]
    assert len(parse(AZURE_LINES, rows_max=2)) == 2


@pytest.mark.parametrize(
    ("lines", "line", "message"),
    [
        ([], 1, "the header is ''; expected TIMESTAMP,"),
        (["time,tokens"], 1, "the header is 'time,tokens'"),
        ([AZURE_LINES[0]], 1, "no request"),
        ([*AZURE_LINES, "2023-11-16 18:15:46,1"], 5, "2 fields, but the header has 3"),
        ([*AZURE_LINES, "yesterday,1,1"], 5, "TIMESTAMP is 'yesterday'"),
        ([*AZURE_LINES, "2023-11-16 18:15:46.-5,1,1"], 5, "TIMESTAMP is"),
        ([*AZURE_LINES, "2023-11-16 18:15:46,0,1"], 5, "ContextTokens is '0'"),
        ([*AZURE_LINES, "2023-11-16 18:15:46,1,1.5"], 5, "GeneratedTokens is '1.5'"),
        ([*BURSTGPT_LINES, "nan,GPT-4,1,1,2,API log"], 5, "Timestamp is 'nan'"),
        ([*BURSTGPT_LINES, "-1,GPT-4,1,1,2,API log"], 5, "Timestamp is '-1'"),
        ([*BURSTGPT_LINES, "1,GPT-4,-1,1,2,API log"], 5, "Request tokens is '-1'"),
        ([*BURSTGPT_LINES, "1,GPT-4,1,99999999,2,API log"], 5, "Response tokens is '99999999'"),
        ([*AZURE_LINES, '"2023'], 5, "not CSV"),
    ],
)
def test_a_bad_line_is_named(lines: list[str], line: int, message: str) -> None:
    with pytest.raises(TraceError, match="line") as caught:
        parse(lines, "trace.csv")
    assert caught.value.line == line
    assert f"trace.csv, line {line}: " in str(caught.value)
    assert message in str(caught.value)


@given(
    st.sampled_from([AZURE, BURSTGPT]),
    st.lists(st.one_of(st.text(max_size=40), st.lists(st.text(max_size=12)).map(",".join))),
)
def test_any_text_is_read_or_refused(header: tuple[str, ...], lines: list[str]) -> None:
    try:
        rows = parse([",".join(header), *lines])
    except TraceError:
        return
    assert rows[0].seconds == 0
    assert all(row.prompt > 0 and row.output > 0 for row in rows)


@given(
    st.lists(st.tuples(st.floats(0, 1e9), st.integers(1, 10**6), st.integers(1, 10**6)), min_size=1)
)
def test_what_is_written_is_read(rows: list[tuple[float, int, int]]) -> None:
    lines = [BURSTGPT_LINES[0], *(f"{t!r},m,{p},{o},{p + o},x" for t, p, o in rows)]
    first = min(t for t, _, _ in rows)
    assert parse(lines) == [Row(t - first, p, o) for t, p, o in sorted(rows)]


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(AZURE_LINES).encode())
    assert len(read(path)) == 3
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TraceError, match="UTF-8"):
        read(path)
    with pytest.raises(ArgumentError, match="cannot be read"):
        read(tmp_path / "none.csv")


def test_a_trace_is_replayed_with_its_lengths() -> None:
    rows = [Row(0.0, 30, 7), Row(0.5, 20, 9), Row(9.0, 10, 5)]
    phase = Phase(2.0, Replay(rows, faster=2.0), Acceptance(0.5), SHORT)
    case = Scenario("replay", "cases", COST, [phase], scenario().limits, draft_max=4)
    workload = Workload(case, 0)
    assert workload.times(0) == [0.0, 0.25]
    assert [workload.request(0, n).output for n in (0, 1)] == [7, 9]
    assert not isinstance(phase.arrivals, Closed)
