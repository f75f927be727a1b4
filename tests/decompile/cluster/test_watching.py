"""The one that watches, over a real store: it warns once, at once, and names who is silent."""

from __future__ import annotations

import functools
import time
import uuid
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.decompile.cluster.test_histories import changed, history, line

from crossdock.decompile.cluster import messages
from crossdock.decompile.cluster.histories import divergences
from crossdock.decompile.cluster.steps import Step
from crossdock.decompile.cluster.watching import WARNINGS_MAX, Watch
from crossdock.decompile.dynamo.channel import Channel
from crossdock.decompile.dynamo.errors import StoreAbsent


@functools.cache
def store() -> Channel:
    """One for all tests; each has a prefix of its own."""
    return Channel.hosted()


class Ranks:
    """Ranks that tell a watch what they compile."""

    def __init__(self, ranks: int, silence_s: float = 1000.0) -> None:
        self.channel = Channel.connected("127.0.0.1", store().port, uuid.uuid4().hex)
        self.said: list[str] = []
        self.watch = Watch(self.channel, ranks, silence_s, self.said.append)

    def tell(self, message: messages.Message) -> None:
        self.channel.tell(messages.encode(message))

    def compile(self, rank: int, steps: Sequence[Step]) -> None:
        for step in steps:
            self.tell(messages.Began(rank=rank, step=step))
            self.tell(messages.Finished(rank=rank, step=step, digest=step.digest()))
        self.watch.poll()

    def beat(self, rank: int, count: int, still_s: float = 0.0) -> None:
        beat = messages.Beat(count=count, doing=line("loop", 7), inside="recv", still_s=still_s)
        self.channel.put(messages.BEAT.format(rank), messages.encode_beat(beat))
        self.look()

    def look(self) -> None:
        self.watch._looked = 0.0
        self.watch.poll()


def test_a_difference_is_said_once_at_once() -> None:
    ranks = Ranks(3)
    ours = history("a", "b")
    ranks.compile(0, ours)
    assert ranks.said == []
    ranks.compile(1, [ours[0], changed(ours[1], "L['n'] == 2")])
    (said,) = ranks.said
    assert said == (
        "rank 0 and rank 1 part: flag at /job/model.py:98: L['n'] == 1 | L['n'] == 2"
        " (in b, /job/model.py:98)"
    )
    ranks.compile(2, ours)
    assert len(ranks.said) == 1
    assert ranks.watch.divergences[0].function.function == "b"


def test_a_branch_is_said_before_it_is_compiled() -> None:
    ranks = Ranks(2)
    ranks.tell(messages.Began(rank=0, step=history("a")[0]))
    ranks.tell(messages.Began(rank=1, step=history("b", caller=200)[0]))
    ranks.watch.poll()
    assert [said.partition(" at ")[0] for said in ranks.said] == ["rank 0 and rank 1 part: branch"]
    assert "/job/model.py:100 | /job/model.py:200" in ranks.said[0]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=5), min_size=2, max_size=4))
def test_it_warns_only_of_what_the_dumps_will_show(names: list[list[str]]) -> None:
    histories = {rank: history(*own) for rank, own in enumerate(names)}
    ranks = Ranks(len(names))
    for rank, steps in histories.items():
        ranks.compile(rank, steps)
    if ranks.said:
        assert divergences(histories)
    if divergences({rank: steps[:1] for rank, steps in histories.items() if steps}):
        assert ranks.said


def test_a_silent_rank_is_named_with_what_it_compiled_last() -> None:
    ranks = Ranks(2, silence_s=0.05)
    for rank in (0, 1):
        ranks.tell(messages.Hello(rank=rank, host="h", pid=10 + rank))
    ranks.compile(1, history("a"))
    ranks.beat(1, 1)
    time.sleep(0.1)
    ranks.beat(0, 1)
    assert len(ranks.said) == 1
    assert ranks.said[0].startswith("rank 1 (h, process 11) is silent for 0 s")
    assert "it compiled last a, /job/model.py:97, compilation 0/0" in ranks.said[0]
    ranks.look()
    assert len([said for said in ranks.said if "rank 1" in said]) == 1, "it is said once"


def test_a_rank_that_does_not_move_is_named_with_its_line() -> None:
    ranks = Ranks(1, silence_s=5.0)
    ranks.tell(messages.Hello(rank=0, host="h", pid=10))
    ranks.watch.poll()
    ranks.beat(0, 1, still_s=4.0)
    assert ranks.said == []
    ranks.beat(0, 2, still_s=6.0)
    ranks.beat(0, 3, still_s=7.0)
    assert len(ranks.said) == 1
    assert "has not moved for 6 s at /job/model.py:7 in recv" in ranks.said[0]


def test_a_rank_that_has_ended_is_not_missed() -> None:
    ranks = Ranks(1, silence_s=0.01)
    ranks.tell(messages.Hello(rank=0, host="h", pid=10))
    ranks.tell(messages.Ended(rank=0, status=0))
    ranks.watch.poll()
    time.sleep(0.05)
    ranks.look()
    assert ranks.said == []
    assert ranks.watch.members[0].status == 0


def test_messages_of_nobody_are_passed_over() -> None:
    ranks = Ranks(1)
    ranks.channel.tell(b"rubbish")
    ranks.tell(messages.Hello(rank=7, host="h", pid=10))
    ranks.watch.poll()
    assert ranks.watch.members[0].pid is None


def test_many_warnings_end_in_one_sentence() -> None:
    ranks = Ranks(2)
    names = [f"{chr(97 + n % 26)}{n}" for n in range(WARNINGS_MAX + 5)]
    ours = history(*names)
    ranks.compile(0, ours)
    ranks.compile(1, [changed(one, "L['n'] == 2") for one in ours])
    assert len(ranks.said) == WARNINGS_MAX + 1
    assert len(ranks.watch.divergences) == WARNINGS_MAX + 5


def test_a_store_that_is_gone_is_an_error_of_its_own() -> None:
    hosted = Channel.hosted()
    client = Channel.connected("127.0.0.1", hosted.port)
    client.tell(b"x")
    del hosted
    with pytest.raises(StoreAbsent, match="does not answer"):
        tell_often(client)


def tell_often(channel: Channel) -> None:
    """What is written first after the end of a store may still be taken."""
    for _ in range(100):
        channel.tell(b"x")
        time.sleep(0.02)
