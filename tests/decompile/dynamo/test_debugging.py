"""``prepare_debug``: what was compiled lies in files, and does what it did."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.decompile.dynamo import programs
from tests.decompile.dynamo.dumps import BREAK_LINE, broken, eager, index_of, of_kind, scaled

from crossdock.decompile.dynamo import DumpRefused, prepare_debug
from crossdock.decompile.dynamo.index import FILE
from crossdock.proxy.errors import ArgumentError

pytestmark = pytest.mark.usefixtures("fresh")

KINDS = list(programs.BREAKS)
CASES = [(around, KINDS[at % len(KINDS)]) for at, around in enumerate(programs.AROUND)]


@pytest.mark.parametrize(("around", "kind"), CASES, ids=lambda name: name.replace(" ", "-"))
def test_programs_behave_the_same_from_their_files(tmp_path: Path, around: str, kind: str) -> None:
    plain = programs.behaviour(programs.program(around, kind))
    with prepare_debug(tmp_path):
        compiled = eager(programs.program(around, kind))
        assert programs.behaviour(compiled) == plain
    index = index_of(tmp_path)
    transformed = of_kind(index, "transformed")
    assert transformed or any(one.skipped for one in index.compiles), "Dynamo gives up in loops"
    for artifact in transformed:
        assert artifact.standing == "proved", artifact.note
        assert (tmp_path / artifact.file).read_text().splitlines()[1].startswith("# Proved")


def test_the_index_tells_compilations_breaks_and_recompilations(tmp_path: Path) -> None:
    with prepare_debug(str(tmp_path)):
        compiled = eager(broken, dynamic=False)
        for n, size in ((1, 3), (2, 3), (2, 4)):
            compiled(torch.ones(size), n)
    index = index_of(tmp_path)
    first, rest, *_ = index.compiles
    assert (first.compile_id, first.user.function, first.user.file) == ("0/0", "broken", file_of())
    assert (rest.resumes, first.resumes) == ("broken", None)
    assert first.seconds["total"] > 0
    found = index.breaks[0]
    assert found.user is not None
    assert (found.compile_id, found.user.line) == ("0/0", BREAK_LINE)
    assert "graph_break" in found.details
    again = {one.compile_id: one.recompiled_because for one in index.compiles}
    assert [failed.guard for failed in again["0/1"]] == ["n == 1"]
    assert "y = x.sin() + n" in again["0/1"][0].source
    assert [failed.compile_id for failed in again["0/2"]] == ["0/1", "0/0"]
    assert "size mismatch" in again["0/2"][0].guard


def file_of() -> str:
    return broken.__code__.co_filename


def test_transformed_code_links_to_its_graph_and_to_what_follows(tmp_path: Path) -> None:
    with prepare_debug(tmp_path):
        eager(broken)(torch.ones(3), 1)
    index = index_of(tmp_path)
    first = next(one for one in of_kind(index, "transformed") if one.compile_id == "0/0")
    graph, resume = first.links
    assert graph in [one.file for one in of_kind(index, "dynamo_graph")]
    assert resume in [one.file for one in of_kind(index, "resume")]
    assert "sin" in (tmp_path / graph).read_text()
    assert "def torch_dynamo_resume_in_broken" in (tmp_path / resume).read_text()
    assert (tmp_path / "index.html").read_text().count(first.file) >= 1


class Base(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


class Derived(Base):
    def __init__(self) -> None:
        super().__init__()
        self.__private = torch.nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward(x)
        torch._dynamo.graph_break()
        result: torch.Tensor = self.__private(x)
        return result


def test_methods_run_from_their_files_whatever_names_are_private(tmp_path: Path) -> None:
    module = Derived()
    x = torch.ones(2, 3)
    expected = module(x)
    with prepare_debug(tmp_path):
        assert eager(module)(x).equal(expected)
    transformed = of_kind(index_of(tmp_path), "transformed")
    assert [one.standing for one in transformed] == ["proved", "proved"]


def test_closures_keep_their_cells(tmp_path: Path) -> None:
    function = scaled(3.0)
    with prepare_debug(tmp_path):
        compiled = eager(function)
        assert compiled(torch.ones(2)).tolist() == [4.0, 4.0]
        function.__closure__[0].cell_contents = 5.0
        assert compiled(torch.ones(2)).tolist() == [6.0, 6.0]
    transformed = of_kind(index_of(tmp_path), "transformed")
    assert [one.standing for one in transformed] == ["proved", "proved"]


def squares(x: torch.Tensor) -> torch.Tensor:
    """Their sum."""
    return (x * x).sum()


def test_graphs_of_autograd_are_dumped(tmp_path: Path) -> None:
    with prepare_debug(tmp_path):
        x = torch.ones(3, requires_grad=True)
        square: Any = torch.compile(squares, backend="aot_eager")
        square(x).backward()
    index = index_of(tmp_path)
    kinds = {one.kind for one in index.artifacts}
    assert {"joint_graph", "forward_graph", "backward_graph", "graph_code", "guards"} <= kinds
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 2.0, 2.0]
    assert "mul" in (tmp_path / of_kind(index, "backward_graph")[0].file).read_text()


def test_names_are_the_same_in_another_run(tmp_path: Path) -> None:
    digests = []
    for turn in ("one", "other"):
        torch._dynamo.reset()
        with prepare_debug(tmp_path / turn):
            eager(programs.program("closure", "graph_break"))(torch.ones(3), [])
        index = index_of(tmp_path / turn)
        kinds = ("dynamo_graph", "graph_code")
        digests.append([one.digest for one in index.artifacts if one.kind in kinds])
    assert digests[0] == digests[1] != []


def test_compilations_after_a_reset_are_others(tmp_path: Path) -> None:
    with prepare_debug(tmp_path):
        for _ in range(3):
            torch._dynamo.reset()
            eager(scaled(2.0))(torch.ones(2))
    ids = [one.compile_id for one in index_of(tmp_path).compiles]
    assert ids == ["0/0", "0/0~1", "0/0~2"]


def test_entered_again_a_folder_goes_on(tmp_path: Path) -> None:
    for size in (2, 3):
        manager = prepare_debug(tmp_path)
        manager.__enter__()
        eager(scaled(size))(torch.ones(size))
        manager.__exit__(None, None, None)
    assert len(index_of(tmp_path).compiles) == 2


def test_nested_dumps_hold_what_was_compiled_within_them(tmp_path: Path) -> None:
    with prepare_debug(tmp_path / "outer"):
        eager(scaled(1.0))(torch.ones(2))
        with prepare_debug(tmp_path / "inner"):
            result = eager(scaled(2.0))(torch.ones(3))
    assert result.tolist() == [3.0, 3.0, 3.0]
    assert len(index_of(tmp_path / "outer").compiles) == 2
    assert len(index_of(tmp_path / "inner").compiles) == 1


def test_threads_dump_into_their_own_folders(tmp_path: Path) -> None:
    results: dict[int, list[float]] = {}
    together = threading.Barrier(3, timeout=60)

    def work(number: int) -> None:
        with prepare_debug(tmp_path / str(number)):
            together.wait()
            compiled = eager(scaled(float(number)))
            results[number] = compiled(torch.ones(number + 1)).tolist()
            together.wait()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: [number + 1.0] * (number + 1) for number in range(3)}
    for number in range(3):
        assert len(index_of(tmp_path / str(number)).compiles) == 1


def test_nothing_is_left_of_it(tmp_path: Path) -> None:
    import torch.fx.graph_module as graph_module
    from torch._dynamo import convert_frame

    before = (graph_module._exec_with_source, dict(convert_frame._bytecode_hooks))

    def fail() -> None:
        with prepare_debug(tmp_path):
            eager(scaled(1.0))(torch.ones(2))
            raise RuntimeError("of the program")

    with pytest.raises(RuntimeError, match="of the program"):
        fail()
    assert (graph_module._exec_with_source, dict(convert_frame._bytecode_hooks)) == before
    assert len(index_of(tmp_path).compiles) == 1
    torch._dynamo.reset()
    eager(scaled(1.0))(torch.ones(2))
    assert len(index_of(tmp_path).compiles) == 1


def test_a_dump_that_fails_does_not_fail_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crossdock.decompile.dynamo import session

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(session, "translate", fail)
    with prepare_debug(tmp_path):
        result = eager(scaled(2.0))(torch.ones(2))
    assert result.tolist() == [3.0, 3.0]
    assert "no space left" in (tmp_path / FILE).read_text()


@pytest.mark.parametrize("folder", ["", None, 3])
def test_a_folder_must_be_a_path(folder: object) -> None:
    with pytest.raises(ArgumentError, match="dump_src_dir"), prepare_debug(folder):  # type: ignore[arg-type]
        pass


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DumpRefused), prepare_debug(tmp_path / "file"):
        pass
