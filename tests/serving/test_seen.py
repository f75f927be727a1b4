"""What a policy is told of vLLM's scheduler, against a look at each request."""

from __future__ import annotations

import dataclasses
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossdock.serving.turbospec import Plan, Verified
from crossdock.serving.vllm import seen

MOST = 4
ALIVE, ENDED = 2, 3


@dataclasses.dataclass
class Request:
    """As vLLM's, as far as it is read."""

    num_tokens: int
    max_tokens: int
    num_computed_tokens: int = 0
    num_output_tokens: int = 0
    num_output_placeholders: int = 0
    num_stale_output_tokens: int = 0
    status: int = ALIVE


class Scheduler:
    """Schedules by dice: requests join, are preempted, come back, are thrown back, end."""

    def __init__(self, dice: Random) -> None:
        self.dice = dice
        self.requests: dict[str, Request] = {}
        self.waiting: list[str] = []
        self.running: list[str] = []
        self.max_num_scheduled_tokens = dice.choice((40, 1000))
        self.finished: set[str] = set()
        self.number = 0

    def schedule(self) -> Any:
        """A step."""
        dice, names = self.dice, list(self.running)
        for name in names:
            request = self.requests[name]
            if dice.random() < 0.05:
                self.running.remove(name)
                self.waiting.append(name)
                request.num_computed_tokens = 0
            elif dice.random() < 0.05 and request.num_computed_tokens > 8:
                request.num_computed_tokens -= dice.randrange(2, 8)
        cached = [(name, self.requests[name]) for name in self.running]
        resumed = [name for name in self.waiting if dice.random() < 0.3]
        cached += [(name, self.requests[name]) for name in resumed]
        new = [self._new() for _ in range(dice.randrange(3))]
        self.waiting = [name for name in self.waiting if name not in resumed]
        self.running += [*resumed, *new]
        tokens, drafts = {}, {}
        for name in self.running:
            request = self.requests[name]
            missing = request.num_tokens - request.num_computed_tokens
            if missing == 1 and name not in (*resumed, *new):
                drafts[name] = [0] * dice.randrange(MOST + 1)
                tokens[name] = 1 + len(drafts[name])
            else:
                tokens[name] = max(min(2, missing), dice.randrange(missing + 1))
        return SimpleNamespace(
            scheduled_new_reqs=[
                SimpleNamespace(
                    req_id=name, num_computed_tokens=self.requests[name].num_computed_tokens
                )
                for name in new
            ],
            scheduled_cached_reqs=SimpleNamespace(
                req_ids=[name for name, _ in cached],
                resumed_req_ids=set(resumed),
                num_computed_tokens=[request.num_computed_tokens for _, request in cached],
                num_output_tokens=[request.num_output_tokens for _, request in cached],
            ),
            num_scheduled_tokens=tokens,
            total_num_scheduled_tokens=sum(tokens.values()),
            scheduled_spec_decode_tokens={name: own for name, own in drafts.items() if own},
            finished_req_ids=self.finished,
        )

    def run(self, output: Any) -> None:
        """The step has run."""
        self.finished = set()
        for name, tokens in output.num_scheduled_tokens.items():
            request = self.requests[name]
            request.num_computed_tokens += tokens
            if request.num_computed_tokens < request.num_tokens:
                continue
            wrong = self.dice.randrange(request.num_computed_tokens - request.num_tokens + 1)
            request.num_computed_tokens -= wrong
            gained = request.num_computed_tokens - request.num_tokens + 1
            request.num_tokens += gained
            request.num_output_tokens += gained
            if request.num_output_tokens >= request.max_tokens:
                self.finished.add(name)
                self.running.remove(name)
                del self.requests[name]

    def _new(self) -> str:
        self.number += 1
        name = str(self.number)
        prompt = self.dice.randrange(1, 20)
        hit = self.dice.randrange(prompt)
        self.requests[name] = Request(prompt, self.dice.randrange(1, 30), num_computed_tokens=hit)
        return name


def looked_at(scheduler: Scheduler, output: Any) -> dict[str, Any]:
    """The same by looking at each request."""
    limits: dict[str, int] = {}
    context = ahead = decoding = prompt_tokens = left = 0
    for name, tokens in output.num_scheduled_tokens.items():
        request = scheduler.requests[name]
        computed = request.num_computed_tokens + tokens
        context += computed
        if tokens in (1, 1 + len(output.scheduled_spec_decode_tokens.get(name, ()))):
            decoding += 1
        else:
            prompt_tokens += tokens
        if computed < request.num_tokens:
            left += request.num_tokens - computed
            continue
        limits[name] = min(max(request.max_tokens - request.num_output_tokens - 2, 0), MOST)
        ahead += computed
    total, most = output.total_num_scheduled_tokens, scheduler.max_num_scheduled_tokens
    room = most - len(limits)
    left = room if total >= most and scheduler.waiting else left
    return {
        "limits": limits,
        "context": ahead,
        "prefill": max(0, min(left, room)),
        "work": (decoding, total, context, 0),
        "prompt_tokens": prompt_tokens,
    }


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32))
def test_it_is_what_a_look_at_each_request_shows(seed: int) -> None:
    scheduler = Scheduler(Random(seed))
    reader = seen.Reader(scheduler, MOST, ALIVE)
    for _ in range(60):
        output = scheduler.schedule()
        batch, work, prompt_tokens = reader.scheduled(output)
        limits = [MOST] * len(batch.requests) if batch.limits is None else batch.limits
        assert {
            "limits": dict(zip(batch.requests, limits, strict=True)),
            "context": batch.context,
            "prefill": batch.prefill,
            "work": (work.requests, work.tokens, work.context, work.draft_length),
            "prompt_tokens": prompt_tokens,
        } == looked_at(scheduler, output)
        scheduler.run(output)


def test_nothing_is_kept_of_requests_that_have_ended() -> None:
    scheduler = Scheduler(Random(1))
    reader = seen.Reader(scheduler, MOST, ALIVE)
    for _ in range(200):
        output = scheduler.schedule()
        reader.scheduled(output)
        scheduler.run(output)
    assert scheduler.number > 100
    assert len(reader._ends) <= len(scheduler.requests) + len(scheduler.finished)
    assert reader._unfinished <= {*scheduler.requests, *scheduler.finished}


def test_only_drafts_of_requests_that_go_on_are_told() -> None:
    drafts = {name: [0] * 3 for name in ("a", "new", "back", "gone", "late", "ended", "wrong")}
    requests = {name: Request(9, 9) for name in drafts if name != "gone"}
    requests["late"].num_stale_output_tokens = 4
    requests["ended"].status = ENDED
    output = SimpleNamespace(
        scheduled_spec_decode_tokens=drafts,
        scheduled_new_reqs=[SimpleNamespace(req_id="new")],
        scheduled_cached_reqs=SimpleNamespace(resumed_req_ids={"back"}),
        num_invalid_spec_tokens={"wrong": 2},
    )
    results = SimpleNamespace(
        sampled_token_ids=[[0] * 3 for _ in drafts],
        req_id_to_index={name: place for place, name in enumerate(drafts)},
    )
    reader = seen.Reader(SimpleNamespace(requests=requests), 3, ALIVE)
    assert reader.verified(output, results) == Verified(["a", "wrong"], [3, 1], [2, 1])
    results.sampled_token_ids = [[0] * 3, *[[] for _ in requests]]
    assert reader.verified(output, results) == Verified(["a"], [3], [2])
    results.sampled_token_ids = []
    assert reader.verified(output, results) == Verified()


def test_results_that_do_not_fit_are_no_read_beyond_their_end() -> None:
    output = SimpleNamespace(
        scheduled_spec_decode_tokens={"a": [0]},
        scheduled_new_reqs=[],
        scheduled_cached_reqs=SimpleNamespace(resumed_req_ids=set()),
        num_invalid_spec_tokens=None,
    )
    reader = seen.Reader(SimpleNamespace(requests={"a": Request(9, 9)}), 3, ALIVE)
    for places, problem in (({"a": 1}, IndexError), ({"a": -1}, IndexError), ({}, KeyError)):
        results = SimpleNamespace(sampled_token_ids=[[0]], req_id_to_index=places)
        with pytest.raises(problem):
            reader.verified(output, results)


def plan(length: int, verify: list[int]) -> Plan:
    return Plan(length, verify, "", 0.0, 0.0)


def test_drafts_are_cut_to_what_is_verified() -> None:
    reader = seen.Reader(None, MOST, ALIVE)
    drafts = SimpleNamespace(req_ids=["a", "b", "c"], draft_token_ids=[[1, 2, 3], [4, 5, 6], [7]])
    reader.cut(drafts, ["a", "c"], plan(3, [3, 2]))
    assert drafts.draft_token_ids == [[1, 2, 3], [4, 5, 6], [7]]
    reader.cut(drafts, ["c", "a"], plan(2, [2, 0]))
    assert drafts.draft_token_ids == [[], [4, 5], [7]]
    reader.cut(drafts, [], plan(1, []))
    assert drafts.draft_token_ids == [[], [4], [7]]
    reader.cut(SimpleNamespace(req_ids=[], draft_token_ids=[]), ["a"], plan(1, [1]))
    with pytest.raises(ValueError, match="1 numbers of drafts for 2 requests"):
        reader.cut(drafts, ["a", "b"], plan(2, [2]))
    with pytest.raises(ValueError, match="1 drafts for 2 requests"):
        reader.cut(SimpleNamespace(req_ids=["a", "b"], draft_token_ids=[[1]]), [], plan(1, []))


@given(st.integers(0, 1 << 32))
def test_a_cut_does_not_depend_on_the_order_of_the_worker(seed: int) -> None:
    dice = Random(seed)
    names = [f"request-{number}" for number in range(dice.randrange(1, 9))]
    verify = [dice.randrange(MOST + 1) for _ in names]
    others = [str(number) for number in range(dice.randrange(3))]
    order = [*names, *others]
    if dice.random() < 0.7:
        dice.shuffle(order)
    tokens = {name: [dice.random() for _ in range(dice.randrange(MOST + 2))] for name in order}
    drafts = SimpleNamespace(req_ids=order, draft_token_ids=[tokens[name] for name in order])
    seen.Reader(None, MOST, ALIVE).cut(drafts, names, plan(MOST, verify))
    kept = dict(zip(names, verify, strict=True))
    assert drafts.draft_token_ids == [tokens[name][: kept.get(name, MOST)] for name in order]


def test_tokens_of_all_clients_are_counted() -> None:
    outputs = [SimpleNamespace(new_token_ids=[1, 2]), SimpleNamespace(new_token_ids=[3])]
    parts = {0: SimpleNamespace(outputs=outputs), 1: SimpleNamespace(outputs=outputs[:1])}
    assert seen.generated(parts) == 5
