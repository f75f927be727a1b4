from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from crossdock.bench import demo, ep, options, ring, transport
from crossdock.bench.workload import Mode
from crossdock.proxy.errors import ArgumentError


def test_lists_are_read() -> None:
    assert options.numbers("ranks", "2,4", 1) == (2, 4)
    assert options.choices("modes", "low-latency,normal", Mode) == ("low_latency", "normal")


@pytest.mark.parametrize(
    ("build", "arguments", "message"),
    [
        (ep.Options, {"ranks": "2;4"}, "ranks is '2;4'"),
        (ep.Options, {"ranks": "0"}, "1 is the least"),
        (ep.Options, {"ranks": "3"}, "not a multiple of 3 ranks"),
        (ep.Options, {"modes": "fast"}, "modes has 'fast'"),
        (ep.Options, {"transport": "sim"}, "choose from shm, tcp"),
        (ep.Options, {"rounds": 0}, "rounds is 0"),
        (ep.Options, {"topk": 257}, "between 1 and 256"),
        (transport.Options, {"min_bytes": 100}, "multiple of 16"),
        (transport.Options, {"max_bytes": 32 << 20}, "max-bytes is"),
        (transport.Options, {"factor": 1}, "factor is 1"),
        (ring.Options, {"producers": "0"}, "1 is the least"),
        (ring.Options, {"bytes": 8}, "bytes is 8"),
        (demo.Options, {"experts": 30}, "not a multiple of 4"),
    ],
)
def test_bad_options_are_refused(build: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        build(**arguments)


def test_sizes_of_the_sweep() -> None:
    given = transport.Options(min_bytes=1024, max_bytes=70_000, factor=8)
    assert list(given.sizes()) == [1024, 8192, 65536]


def test_shapes_have_deep_eps_numbers_of_tokens() -> None:
    shapes = {(s.mode, s.dtype): s.tokens for s in ep.Options().shapes(2)}
    assert shapes == {
        ("normal", "bf16"): 4096,
        ("normal", "fp8"): 4096,
        ("low_latency", "bf16"): 128,
        ("low_latency", "fp8"): 128,
    }


def test_progress_is_drawn_when_told() -> None:
    console = Console(force_terminal=True, width=80, record=True)
    with options.progress_on(console) as tell:
        tell(1, 4, "2 ranks")
        text = console.export_text()
    assert "2 ranks" in text
    assert "1/4" in text
