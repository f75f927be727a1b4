"""`crossdock explain` on jobs that really hang or fail: it names the rank that is to blame."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.ep.normal_cases import NormalCase, NormalSpec
from tests.ep.worlds import built, on_one_node
from tests.harness import Died, RankContext, run_ranks

from crossdock.deploy.explain.gather import ask
from crossdock.ep import Buffer
from crossdock.proxy import Communicator, CrossdockError, Options

SIZE = 3
CULPRIT = 1
LIMIT_S = 2.0
EACH_WAY = pytest.mark.parametrize("transport", ["shm", "tcp"])
Report = dict[str, Any]


def job(rank: RankContext, transport: str, **more: Any) -> Communicator:
    values: dict[str, Any] = {"timeout_s": LIMIT_S, "heap_bytes": 1 << 20, "pin": False}
    values |= {"transport": transport, "proxy_threads": 0, "dump_dir": str(rank.folder / "dumps")}
    return Communicator(rank.exchange(), Options(**(values | more)), num_counters=4)


def explained(rank: RankContext, *arguments: str) -> Report:
    """What the command says of the dumps in the job's folder."""
    command = [sys.executable, "-c", "from crossdock.deploy.cli import main; exit(main())"]
    command += ["explain", str(rank.folder / "dumps"), "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report: Report = json.loads(done.stdout)
    return report


def verdict(report: Report) -> tuple[str, list[int]]:
    return report["verdict"]["kind"], report["verdict"]["culprits"]


def others_agree(rank: RankContext, name: str) -> None:
    """All but the culprit have come so far."""
    rank.exchange(name, set(range(SIZE)) - {CULPRIT}).all_gather(b"", 30)


# ---- stopped, dead, asleep ----------------------------------------------------------------------


def stop(rank: RankContext, transport: str) -> Report | None:
    c = job(rank, transport)
    c.barrier()
    pids = [int(data) for data in rank.exchange("pids").all_gather(str(os.getpid()).encode(), 20)]
    if rank.rank == CULPRIT:
        os.kill(os.getpid(), signal.SIGSTOP)
        c.destroy()
        return None
    with pytest.raises(CrossdockError, match="dump: "):
        c.barrier()
    others_agree(rank, "failed")
    report = explained(rank) if rank.rank == 0 else None
    others_agree(rank, "explained")
    if rank.rank == 0:
        os.kill(pids[CULPRIT], signal.SIGCONT)
    c.destroy()
    return report


@EACH_WAY
def test_a_stopped_rank_is_named(transport: str) -> None:
    report = run_ranks(stop, SIZE, transport)[0]
    assert verdict(report) == ("stopped", [CULPRIT])
    assert report["dumps"] == [0, 2]
    assert {(wait["rank"], wait["for"]) for wait in report["waits"]} == {(0, 1), (2, 1)}
    assert all(wait["what"] == "barrier" for wait in report["waits"])
    assert all(0.9 * LIMIT_S < wait["waited_s"] < 5 * LIMIT_S for wait in report["waits"])
    assert "no dump of rank 1" in report["notes"]


def die(rank: RankContext, transport: str) -> Report | None:
    c = job(rank, transport)
    c.barrier()
    if rank.rank == CULPRIT:
        c.fence()
        os.kill(os.getpid(), signal.SIGKILL)
    with pytest.raises(CrossdockError, match="dump: "):
        c.barrier()
    others_agree(rank, "failed")
    c.destroy()
    return explained(rank) if rank.rank == 0 else None


@EACH_WAY
def test_a_dead_rank_is_named(transport: str) -> None:
    results = run_ranks(die, SIZE, transport, may_die={CULPRIT})
    assert results[CULPRIT] == Died(signal.SIGKILL)
    assert verdict(results[0]) == ("dead", [CULPRIT])


def sleep_for_long(rank: RankContext) -> None:
    end = time.monotonic() + 30
    while not (rank.folder / "explained").exists() and time.monotonic() < end:
        time.sleep(0.1)


def doze(rank: RankContext, transport: str) -> Report | None:
    c = job(rank, transport, timeout_s=30.0)
    c.barrier()
    report = None
    if rank.rank == CULPRIT:
        sleep_for_long(rank)
    elif rank.rank == 0:
        (asker := subprocess_after(rank, 1.0)).start()
        c.barrier()
        asker.join()
        report = json.loads((rank.folder / "explained").read_text())
        c.destroy()
        return report  # type: ignore[no-any-return]
    c.barrier()
    c.destroy()
    return report


def subprocess_after(rank: RankContext, delay_s: float) -> Any:
    import threading

    def ask() -> None:
        time.sleep(delay_s)
        report = explained(rank, "--all", "--job", job_of(rank))
        draft = rank.folder / "draft"
        draft.write_text(json.dumps(report))
        draft.rename(rank.folder / "explained")

    return threading.Thread(target=ask)


def job_of(rank: RankContext) -> str:
    """The name of the job that this process belongs to."""
    from crossdock.proxy import presence

    (found,) = presence.ranks({os.getpid()})
    return found.presence.job


@EACH_WAY
def test_a_rank_that_sleeps_is_named_while_the_others_wait(transport: str) -> None:
    report = run_ranks(doze, SIZE, transport)[0]
    assert verdict(report) == ("computing", [CULPRIT])
    assert "in sleep_for_long" in report["verdict"]["text"]
    assert report["dumps"] == [0, 1, 2]


# ---- calls that do not match, ranks that are not there -------------------------------------------


SPEC = NormalSpec((20, 30, 40), hidden=128)


@contextlib.contextmanager
def buffer_of(rank: RankContext, transport: str) -> Iterator[Buffer]:
    folder = str(rank.folder / "dumps")
    world = on_one_node(SIZE, transport)
    with built(rank, world, timeout_s=LIMIT_S, dump_dir=folder) as buffer:
        yield buffer


def call_another(rank: RankContext, transport: str) -> Report | None:
    case = NormalCase(SPEC, (0,) * SIZE)
    with buffer_of(rank, transport) as buffer:
        x, _, _, _, handle, _ = buffer.dispatch(**case.arguments(rank.rank))
        assert isinstance(x, torch.Tensor)
        calls: list[Callable[[], object]] = [lambda: buffer.dispatch(**case.arguments(rank.rank))]
        if rank.rank == CULPRIT:
            calls = [lambda: buffer.combine(x, handle)]
        with pytest.raises(CrossdockError, match="dump: "):
            calls[0]()
        rank.exchange("failed").all_gather(b"", 30)
        return explained(rank) if rank.rank == 0 else None


@EACH_WAY
def test_a_rank_in_another_call_is_named(transport: str) -> None:
    report = run_ranks(call_another, SIZE, transport)[0]
    assert verdict(report) == ("mismatch", [CULPRIT])
    said = report["verdict"]["text"]
    assert said.startswith("rank 1 is in combine, but ranks 0, 2 are in dispatch")


def stay_away(rank: RankContext, transport: str) -> Report | None:
    os.environ["CROSSDOCK_DUMP_DIR"] = str(rank.folder / "dumps")
    if rank.rank == CULPRIT:
        return None
    with pytest.raises(CrossdockError, match="dump: "):
        job(rank, transport)
    others_agree(rank, "failed")
    return explained(rank) if rank.rank == 0 else None


def test_a_rank_that_never_joined_is_named() -> None:
    report = run_ranks(stay_away, SIZE, "auto")[0]
    assert verdict(report) == ("never joined", [CULPRIT])


def leave(rank: RankContext, transport: str) -> Report | None:
    c = job(rank, transport)
    c.barrier()
    if rank.rank == CULPRIT:
        c.destroy()
        return None
    with pytest.raises(CrossdockError, match="dump: "):
        c.wait([CULPRIT], 1, 1, "a word")
    others_agree(rank, "failed")
    c.destroy()
    return explained(rank) if rank.rank == 0 else None


@EACH_WAY
def test_a_rank_that_left_too_early_is_named(transport: str) -> None:
    report = run_ranks(leave, SIZE, transport)[0]
    assert verdict(report) == ("left", [CULPRIT])


# ---- asking -------------------------------------------------------------------------------------


def test_a_process_that_is_no_rank_is_left_alone(tmp_path: Path) -> None:
    program = "print('ready', flush=True); import time; time.sleep(30)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        _, said = ask({process.pid}, None, 0.2)
        assert said == [f"process {process.pid} is no rank that answers signals: left alone"]
        assert process.poll() is None
        process.kill()
