"""Lines of a dump beside the user's; what is asked of lines that there are not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.decompile.dynamo.dumps import BREAK_LINE, broken, eager, index_of, of_kind

from crossdock.decompile.dynamo import Index, prepare_debug
from crossdock.decompile.dynamo.errors import LineUnknown
from crossdock.decompile.dynamo.index import Artifact, Line, Mapped
from crossdock.decompile.dynamo.origins import origins, rows

pytestmark = pytest.mark.usefixtures("fresh")


def test_a_dump_leads_back_to_the_user(tmp_path: Path) -> None:
    with prepare_debug(tmp_path):
        eager(broken)(torch.ones(3), 1)
    index = index_of(tmp_path)
    first = next(one for one in of_kind(index, "transformed") if one.compile_id == "0/0")
    at_break = [one for one in rows(first, tmp_path) if one.mapped.original == BREAK_LINE]
    assert at_break
    assert at_break[0].source.strip() == "torch._dynamo.graph_break()"
    (resume,) = of_kind(index, "resume")
    found = {one.source.strip(): one.text.strip() for one in rows(resume, tmp_path)}
    assert found["return y.cos()"] == "return y.cos()"
    page = (tmp_path / "index.html").read_text()
    assert "<h2>Lines</h2>" in page
    assert (
        f'<summary><a href="{first.file}">{first.file}</a>, of {broken.__code__.co_filename}'
        in (page)
    )
    place = f"{tmp_path}/{first.file}:{at_break[0].mapped.line}"
    artifact, mapped = origins(index, place)
    assert artifact.file == first.file
    assert BREAK_LINE in [one.original for one in mapped]


def mapped(line: int, original: int) -> Mapped:
    """Of a function f."""
    return Mapped(line=line, original=original, function="f", offset=2 * line)


ARTIFACT = Artifact(
    kind="resume",
    file="f.py",
    digest="",
    user=Line(file="u.py", line=1),
    lines=[mapped(2, 5), mapped(3, 5), mapped(4, 7), mapped(4, 9), mapped(5, 5)],
)


def test_lines_in_a_row_from_one_line_are_told_once(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text("one\ntwo\nthree\nfour\n")
    found = list(rows(ARTIFACT, tmp_path, lambda file: [f"{file} {at}\n" for at in range(1, 9)]))
    told = [(one.mapped.line, one.text, one.source) for one in found]
    assert told == [(2, "two", "u.py 5"), (4, "four", "u.py 7"), (4, "four", ""), (5, "", "u.py 5")]
    assert next(rows(ARTIFACT, tmp_path / "gone", lambda _: [])).text == ""


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("f.py", "'f.py' is no line of a file; write FILE:LINE"),
        ("f.py:", "is no line of a file"),
        ("g.py:2", "'g.py' is no file of the dump that was decompiled and proved"),
        ("f.py:9", "line 9 of f.py has no code; lines with code: 2, 3, 4, 5"),
    ],
)
def test_lines_that_there_are_not(place: str, says: str) -> None:
    with pytest.raises(LineUnknown, match=says):
        origins(Index(artifacts=[ARTIFACT]), place)
