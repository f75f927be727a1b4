"""A dump as steps: which is which on any rank."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.decompile.cluster.ranks import dump
from tests.decompile.dynamo.dumps import broken, eager

from crossdock.decompile.cluster import dumps, steps
from crossdock.decompile.cluster.lines import after_comment
from crossdock.decompile.dynamo.index import Compile, Index, Line, Process


def test_turns_positions_and_callers(tmp_path: Path) -> None:
    def body() -> None:
        compiled = eager(broken, dynamic=False)
        for number in (1, 2):
            compiled(torch.ones(3), number)  # here

    made = dumps.read(dump(tmp_path, [body]))[0].steps
    assert [(one.turn, one.position) for one in made if one.user.function == "broken"] == [
        (0, 0),
        (1, 2),
    ]
    here = next(
        n for n, row in enumerate(Path(__file__).read_text().splitlines(), 1) if "# here" in row
    )
    assert made[0].called_from[-1] == Line(file=__file__, line=here, function="body")
    assert len({one.key for one in made}) == len(made)
    assert made[2].because[0].guard == "n == 1"
    user = after_comment(made[2].because[0].source, made[2])
    assert user is not None
    assert user.file == broken.__code__.co_filename


@pytest.mark.parametrize(
    ("script", "file", "root"),
    [
        ("/job/train.py", "/elsewhere/a.py", "/job"),
        ("train.py", "/job/train.py", "/job"),
        ("src/train.py", "/job/src/train.py", "/job/src"),
        ("-c", "/job/a.py", ""),
        ("", "/job/a.py", ""),
    ],
)
def test_the_folder_of_the_script(script: str, file: str, root: str) -> None:
    compiled = [Compile(compile_id="0/0", user=Line(file=file, line=1))]
    assert steps.root_of(Index(process=Process(argv=[script]), compiles=compiled)) == root


def test_comments_of_guards() -> None:
    one = Line(file="/job/model/layers.py", line=1, function="f")
    index = Index(compiles=[Compile(compile_id="0/0", user=one)])
    (step,) = steps.steps(index, Path("/nonexistent"))
    source = 'x = "# a.py:1 in b" # el/layers.py:8 in h (user code shown is first use)'
    assert after_comment(source, step) == Line(file=one.file, line=8, function="h")
    assert after_comment("_dynamo/output_graph.py:1135 in init", step) == Line(
        file="_dynamo/output_graph.py", line=1135, function="init"
    )
    assert after_comment("", step) is None
