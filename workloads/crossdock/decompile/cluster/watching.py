"""The one that watches: hears what ranks compile, and says at once where they part.

No rank waits for it, or for another; it may be slow, or gone.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TypeVar

from crossdock.decompile.cluster import messages
from crossdock.decompile.cluster.histories import Divergence, differing, most_first, parting
from crossdock.decompile.cluster.members import Member, doing_of, last_of, named
from crossdock.decompile.cluster.steps import Key, Step
from crossdock.decompile.cluster.wording import described
from crossdock.decompile.dynamo.channel import Channel

K = TypeVar("K")
POLL_S = 0.1
BEATS_S = 1.0
"""Between two looks at all signs of life."""
WARNINGS_MAX = 20
"""That are said; the others are in the overview."""


class Watch:
    """Compares steps as they come; memory grows with what differs, not with the ranks."""

    def __init__(
        self, channel: Channel, ranks: int, silence_s: float, say: Callable[[str], None]
    ) -> None:
        self.members = {rank: Member(rank) for rank in range(ranks)}
        self.divergences: list[Divergence] = []
        self._channel = channel
        self._silence_s = silence_s
        self._say = say
        self._finished: dict[Key, dict[str, tuple[list[int], Step]]] = defaultdict(dict)
        self._begun: dict[int, dict[Key, tuple[list[int], Step]]] = defaultdict(dict)
        self._parted = False
        self._looked = 0.0

    def poll(self) -> None:
        """Hear what there is to hear, and say what there is to say. Waits for nobody.

        Raises:
            StoreAbsent: the store is gone.
        """
        for packed in self._channel.told():
            message = messages.decode(packed)
            if message is not None and message.rank in self.members:
                self._hear(message)
        now = time.monotonic()
        if now - self._looked >= BEATS_S:
            self._looked = now
            self._look(now)

    def _hear(self, message: messages.Message) -> None:
        member = self.members[message.rank]
        member.heard = time.monotonic()
        match message:
            case messages.Hello():
                member.host, member.pid = message.host, message.pid
            case messages.Began():
                member.last, member.compiling = message.step, True
                self._compare_position(message.rank, message.step)
            case messages.Finished():
                member.last, member.compiling = message.step, False
                self._compare(message.rank, message.step, message.digest)
            case messages.Ended():
                member.status, member.reason = message.status, message.reason

    def _compare(self, rank: int, step: Step, digest: str) -> None:
        """Among the ranks that have compiled the same."""
        groups = self._finished[step.key]
        if digest in groups:
            groups[digest][0].append(rank)
            return
        groups[digest] = ([rank], step)
        if len(groups) > 1:
            (left, ours), (right, theirs) = self._pair(groups, digest)
            found = differing(left, ours, right, theirs)
            if found is not None:
                self._warn(found)

    def _compare_position(self, rank: int, step: Step) -> None:
        """Among the main threads, until they part for the first time."""
        if self._parted or step.position is None:
            return
        groups = self._begun[step.position]
        if step.key in groups:
            groups[step.key][0].append(rank)
        else:
            groups[step.key] = ([rank], step)
        if len(groups) > 1:
            self._parted = True
            (left, ours), (right, theirs) = self._pair(groups, step.key)
            self._warn(parting(left, ours, right, theirs, step.position))
            self._begun.clear()

    @staticmethod
    def _pair(groups: Mapping[K, tuple[list[int], Step]], new: K) -> list[tuple[list[int], Step]]:
        """The group that is new, and the largest of the others; as in ``most_first``."""
        others = {min(ranks): step for key, (ranks, step) in groups.items() if key != new}
        largest = most_first(ranks for key, (ranks, _) in groups.items() if key != new)[0]
        steps = {min(groups[new][0]): groups[new][1]} | others
        return [(ranks, steps[ranks[0]]) for ranks in most_first([largest, groups[new][0]])]

    def _warn(self, divergence: Divergence) -> None:
        self.divergences.append(divergence)
        if len(self.divergences) <= WARNINGS_MAX:
            self._say(described(divergence))
        elif len(self.divergences) == WARNINGS_MAX + 1:
            self._say("ranks diverge further; the overview will have it")

    def _look(self, now: float) -> None:
        """At the signs of life of all that have begun and not ended."""
        for member in self.members.values():
            if member.pid is None or member.status is not None:
                continue
            text = self._channel.get(messages.BEAT.format(member.rank))
            beat = messages.decode_beat(text) if text is not None else None
            if beat is not None and beat.count != member.beat:
                member.beat, member.heard, member.silent = beat.count, now, False
                member.doing, member.inside = beat.doing, beat.inside
                member.still_s = beat.still_s
            self._name(member, now)

    def _name(self, member: Member, now: float) -> None:
        """Say who is silent, or stands still."""
        silent_s = now - member.heard
        if silent_s > self._silence_s and not member.silent:
            member.silent = True
            self._say(
                f"{named(member)} is silent for {silent_s:.0f} s: it was stopped, holds the"
                f" interpreter, or its machine is lost; {last_of(member)}"
            )
        stands = member.still_s > self._silence_s and not member.silent
        if stands and member.doing != member.stands_at:
            member.stands_at = member.doing
            self._say(
                f"{named(member)} has not moved for {member.still_s:.0f} s {doing_of(member)};"
                f" {last_of(member)}"
            )
