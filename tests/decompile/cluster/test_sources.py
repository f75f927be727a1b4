"""Sources are shown as the rank had them, from wherever they lie."""

from __future__ import annotations

from pathlib import Path

from crossdock.decompile.cluster import sources
from crossdock.decompile.cluster.terminal import excerpt
from crossdock.decompile.dynamo.index import Line


def test_the_copy_of_the_rank_goes_before_the_file_of_today(tmp_path: Path) -> None:
    source, dump = tmp_path / "model.py", tmp_path / "rank_0"
    dump.mkdir()
    source.write_text("one\ntwo\nthree\n")
    assert sources.lines(dump, str(source)) == ["one", "two", "three"]
    sources.keep(dump, str(source))
    source.write_text("changed\n")
    assert sources.lines(dump, str(source)) == ["one", "two", "three"]
    source.unlink()
    shown = excerpt(dump, Line(file=str(source), line=2), context=1).plain
    assert shown == "     1 one\n>    2 two\n     3 three\n"


def test_what_is_no_file_or_too_large_is_left_out(tmp_path: Path) -> None:
    large = tmp_path / "large.py"
    large.write_bytes(b" " * (sources.BYTES_MAX + 1))
    for file in (str(large), "<string>", str(tmp_path), "/absent/x.py", "nul\0"):
        sources.keep(tmp_path, file)
    assert not (tmp_path / sources.FOLDER).exists()
    assert sources.lines(tmp_path, "/absent/x.py") == []
    assert excerpt(tmp_path, Line(file="/absent/x.py", line=3)).plain == ""
