"""The stream of a Buffer and its events, without a Buffer."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from crossdock.ep import EventHandle, EventOverlap
from crossdock.ep.stream import CommStream


@pytest.fixture
def stream() -> Iterator[CommStream]:
    """A stream that is closed in the end."""
    made = CommStream()
    yield made
    made.close()


def test_operations_run_in_the_order_in_which_they_were_asked_for(stream: CommStream) -> None:
    done: list[int] = []
    gate = threading.Event()
    stream.submit(lambda: gate.wait(10))
    for number in range(5):
        stream.submit(lambda number=number: done.append(number))  # type: ignore[misc]
    assert done == []
    gate.set()
    stream.run(lambda: done.append(5))
    assert done == [0, 1, 2, 3, 4, 5]


def test_a_plain_operation_runs_in_the_thread_of_its_caller(stream: CommStream) -> None:
    assert stream.run(threading.get_ident) == threading.get_ident()
    seen: list[int] = []
    stream.submit(lambda: seen.append(threading.get_ident())).current_stream_wait()
    assert seen != [threading.get_ident()]


def test_an_operation_may_call_the_stream_again(stream: CommStream) -> None:
    assert stream.run(lambda: stream.run(lambda: 7)) == 7


def test_errors_belong_to_the_event(stream: CommStream) -> None:
    event = stream.submit(lambda: 1 // 0)
    assert stream.run(lambda: 3) == 3, "the next operation runs nevertheless"
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            event.current_stream_wait()


def test_an_operation_whose_previous_event_failed_does_not_run(stream: CommStream) -> None:
    done: list[int] = []
    failed = stream.submit(lambda: 1 // 0)
    after = stream.submit(lambda: done.append(1), failed)
    with pytest.raises(ZeroDivisionError):
        after.current_stream_wait()
    with pytest.raises(ZeroDivisionError):
        stream.run(lambda: done.append(2), failed)
    assert done == []


def test_an_event_can_be_asked_and_released(stream: CommStream) -> None:
    gate = threading.Event()
    event = stream.submit(lambda: gate.wait(10))
    assert event.event is not None
    assert not event.event.query()
    gate.set()
    event.current_stream_wait(release_handle=True)
    assert event.event is None
    event.current_stream_wait()


def test_an_event_is_waited_for_at_the_end_of_a_block(stream: CommStream) -> None:
    gate, order = threading.Event(), []

    def pass_the_gate() -> None:
        gate.wait(10)
        order.append("stream")

    event = stream.submit(pass_the_gate)
    with event as same:
        assert same is event
        order.append("block")
        gate.set()
    assert order == ["block", "stream"]


def test_an_empty_event_has_nothing_to_wait_for() -> None:
    with EventOverlap() as event:
        assert event.event is None
    event.current_stream_wait()
    assert EventHandle().query()
    EventHandle().current_stream_wait()
    tensors = (1, 2)
    assert EventOverlap(EventHandle(), tensors).extra_tensors is tensors


def test_closing_waits_for_all_work() -> None:
    done: list[int] = []
    gate = threading.Event()
    stream = CommStream()

    def pass_the_gate() -> None:
        gate.wait(10)
        done.append(1)

    stream.submit(pass_the_gate)
    threading.Timer(0.05, gate.set).start()
    stream.close()
    assert done == [1]
