"""How each rank ended is said by what is known of it, and of the others."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from crossdock.decompile.cluster import record
from crossdock.decompile.cluster.ending import Run
from crossdock.decompile.cluster.overview import FILE
from crossdock.decompile.cluster.watching import Watch
from crossdock.decompile.dynamo.channel import Channel

TERM, KILL = -signal.SIGTERM, -signal.SIGKILL


@pytest.mark.parametrize(
    ("statuses", "hung", "states"),
    [
        ({0: 0, 1: 0}, set(), ["ended", "ended"]),
        ({0: 0, 1: 3}, set(), ["ended", "failed"]),
        ({1: KILL}, set(), ["stopped", "killed"]),
        ({0: TERM, 1: 3}, set(), ["stopped", "failed"]),
        ({0: TERM, 1: KILL}, {1}, ["stopped", "hung"]),
        ({1: TERM}, set(), ["stopped", "killed"]),
        ({}, set(), ["lost", "lost"]),
    ],
)
def test_states(
    tmp_path: Path, statuses: dict[int, int], hung: set[int], states: list[str]
) -> None:
    watch = Watch(Channel.hosted(), 2, 1.0, lambda said: None)
    run = Run(tmp_path, "torchrun", ["x"], statuses=statuses, hung=hung)
    made = run.finish(watch)
    assert [end.state for end in made.ranks] == states
    assert made == record.load(tmp_path)
    assert "rank 0 has left no dump" in made.notes
    assert "rank 0 has left no dump" in (tmp_path / FILE).read_text()


def test_the_words_of_a_rank_that_failed(tmp_path: Path) -> None:
    watch = Watch(Channel.hosted(), 1, 1.0, lambda said: None)
    watch.members[0].status, watch.members[0].reason = 1, "ValueError: so"
    (end,) = Run(tmp_path, "ray", ["x"]).finish(watch).ranks
    assert (end.state, end.why) == ("failed", "ValueError: so")
