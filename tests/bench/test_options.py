from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from crossdock.bench import (
    _native,
    demo,
    ep,
    launch,
    options,
    ring,
    ring_rank,
    transport,
)
from crossdock.bench.workload import MAX_SEED, Mode, Shape, inputs_of
from crossdock.proxy.errors import ArgumentError
from crossdock.proxy.schema import MAX_PEERS


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
        (ep.Options, {"ranks": "5000", "experts": 5000}, "between 1 and 4096"),
        (ep.Options, {"experts": 0}, "take 2"),
        (ep.Options, {"experts": 4096}, "at most 2048, 1024 each"),
        (ep.Options, {"topk": 0}, "between 1 and 32"),
        (ep.Options, {"topk": 33}, "between 1 and 32"),
        (ep.Options, {"topk": 9, "experts": 8}, "between 1 and 8"),
        (ep.Options, {"hidden": 0}, "hidden is 0, .* multiple of 128.*take 128"),
        (ep.Options, {"hidden": 17}, "hidden is 17, .* multiple of 128.*take 128"),
        (ep.Options, {"hidden": 17, "dtypes": "bf16"}, "multiple of 8, .*take 16"),
        (ep.Options, {"hidden": 1 << 23}, "at most 8388480 .*take 8388480"),
        (ep.Options, {"tokens": 0}, "low-latency mode takes 1 to 2047"),
        (ep.Options, {"tokens": 2048}, "low-latency mode takes 1 to 2047"),
        (ep.Options, {"tokens": -1, "modes": "normal"}, "not be negative"),
        (ep.Options, {"tokens": 2047, "hidden": 80_000}, "at most 68719476736"),
        (ep.Options, {"seed": -1}, "seed is -1"),
        (ep.Options, {"seed": 1 << 51}, "seed is 2251799813685248"),
        (ep.Options, {"deadline_s": float("nan")}, "deadline-s is nan"),
        (transport.Options, {"min_bytes": 100}, "multiple of 16"),
        (transport.Options, {"max_bytes": 32 << 20}, "max-bytes is"),
        (transport.Options, {"factor": 1}, "factor is 1"),
        (ring.Options, {"producers": "0"}, "1 is the least"),
        (transport.Options, {"min_bytes": 4096, "max_bytes": 1024}, "exchange them"),
        (transport.Options, {"deadline_s": 0.0}, "deadline-s is 0"),
        (ring.Options, {"producers": "65"}, "64 is the most"),
        (ring.Options, {"batches": "1,257"}, "256 is the most"),
        (ring.Options, {"bytes": 8}, "bytes is 8"),
        (ring.Options, {"bytes": (1 << 20) + 1}, "between 16 and 1048576"),
        (ring.Options, {"deadline_s": 1e300}, "deadline-s is 1e.300"),
        (demo.Options, {"hidden": 100}, "hidden is 100"),
        (demo.Options, {"topk": 40}, "topk is 40"),
        (demo.Options, {"deadline_s": -1.0}, "deadline-s is -1"),
        (demo.Options, {"experts": 30}, "not a multiple of 4"),
    ],
)
def test_bad_options_are_refused(build: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        build(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"tokens": 0, "modes": "normal"},
        {"tokens": 2047, "hidden": 128},
        {"hidden": 8, "dtypes": "bf16"},
        {"hidden": 8_388_480, "tokens": 1},
        {"topk": 32, "experts": 32},
        {"ranks": "1", "experts": 1024},
        {"seed": (1 << 51) - 1},
    ],
)
def test_options_at_the_limit_are_taken(arguments: dict[str, Any]) -> None:
    assert list(ep.Options(**arguments).shapes(2))


def test_the_largest_seed_has_a_generator_for_every_rank() -> None:
    shape = Shape("normal", "bf16", MAX_PEERS, 1, 8, 1, MAX_PEERS, seed=MAX_SEED)
    assert inputs_of(shape, MAX_PEERS - 1).x.shape == (1, 8)


def test_torchrun_decides_the_number_of_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in launch.TORCHRUN_VARIABLES:
        monkeypatch.setenv(name, "6")
    with pytest.raises(ArgumentError, match="not a multiple of 6 ranks"):
        ep.Options()
    assert ep.Options(experts=12, ranks="5").experts == 12


@pytest.mark.parametrize(("producers", "batch"), [(ring_rank.MOST_PRODUCERS + 1, 1), (1, 257)])
def test_limits_of_the_ring_are_the_native_ones(producers: int, batch: int) -> None:
    plan = _native.StreamPlan()
    plan.producers, plan.batch = producers, batch
    with pytest.raises(ValueError, match=f"1 to {ring_rank.MOST_BATCH} and .* 1 to 64"):
        _native.stream_ring(plan)


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
