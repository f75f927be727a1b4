"""Records of torch's structured trace become events."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from crossdock.decompile.dynamo.trace import LOGGER, Event, Listener, decode

IDS = {"frame_id": 3, "frame_compile_id": 1, "attempt": 2}


def test_a_record_has_its_compilation() -> None:
    event = decode({"dynamo_output_graph": {"sizes": {}}, **IDS, "has_payload": "ab"}, "graph")
    assert event == Event(
        kind="dynamo_output_graph",
        compile_id="3/1",
        attempt=2,
        fields={"sizes": {}},
        payload="graph",
    )


def test_an_artifact_goes_by_its_own_name() -> None:
    event = decode({"artifact": {"name": "recompile_reasons"}, **IDS}, '["a", "b"]')
    assert event is not None
    assert event.kind == "recompile_reasons"
    assert event.decoded() == ["a", "b"]


@pytest.mark.parametrize(
    ("ids", "written"),
    [
        ({}, None),
        ({"compiled_autograd_id": 4}, "!4"),
        ({"compiled_autograd_id": 4, **IDS}, "!4/3/1"),
    ],
)
def test_compilations_are_written_as_torch_does(ids: dict[str, int], written: str | None) -> None:
    event = decode({"str": ["file.py", 7], **ids}, None)
    assert event is not None
    assert event.compile_id == written
    assert event.fields["value"] == ["file.py", 7]


@pytest.mark.parametrize("metadata", [None, "text", {}, {"rank": 0, "attempt": 1}])
def test_records_without_a_name_are_none(metadata: Any) -> None:
    assert decode(metadata, None) is None


def test_a_payload_that_is_no_json_is_text() -> None:
    event = decode({"artifact": {"name": "a"}}, "0/0: n == 1")
    assert event is not None
    assert event.decoded() == "0/0: n == 1"


def test_what_goes_wrong_stays_out_of_the_compilation() -> None:
    failed: list[BaseException] = []

    def receive(event: Event) -> None:
        raise ValueError(event.kind)

    listener = Listener(receive, failed.append)
    listener.start()
    log = logging.getLogger(LOGGER)
    try:
        log.debug("", extra={"metadata": {"one": {}}, "payload": None})
    finally:
        listener.stop()
        listener.stop()
    assert [str(error) for error in failed] == ["one"]
    assert listener not in log.handlers
