"""The folder of a dump: one file for one text, and nothing of others touched."""

from __future__ import annotations

import ast
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.decompile.dynamo import index
from crossdock.decompile.dynamo.errors import DumpRefused
from crossdock.decompile.dynamo.store import Store, as_python, commented


def test_the_same_text_is_one_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, mark = store.write("code", "x = 1\n")
    again, _ = store.write("code", "x = 1\n")
    assert first == again
    assert first.read_text() == "x = 1\n"
    assert mark in first.name
    assert len(list(tmp_path.iterdir())) == 1


def test_texts_that_differ_only_by_addresses_lie_beside_each_other(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, one = store.write("code", "x = 0xabcdef01\n")
    second, other = store.write("code", "x = 0xabcdef02\n")
    assert one == other
    assert first != second
    assert second.read_text() == "x = 0xabcdef02\n"


def test_a_digest_of_the_body_ignores_the_head(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _, one = store.write("code", "# a\nx = 1\n", digest_of="x = 1\n")
    _, other = store.write("code", "# b\nx = 1\n", digest_of="x = 1\n")
    assert one == other


def test_names_are_fit_for_files(tmp_path: Path) -> None:
    path, _ = Store(tmp_path).write("code_for_<lambda> ../" + "x" * 500, "")
    assert path.parent == tmp_path
    assert path.name.startswith("code_for__lambda_")


def test_what_an_earlier_dump_left_goes_and_the_rest_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old, mark = store.write("code", "x = 1\n")
    outside = tmp_path.parent / "outside.py"
    outside.touch()
    artifacts = [
        index.Artifact(kind="guards", file=name, digest=mark)
        for name in (old.name, "../outside.py", "notes.txt")
    ]
    (tmp_path / "notes.txt").touch()
    (tmp_path / "mine.py").touch()
    index.Index(artifacts=artifacts).save(tmp_path)
    Store(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"mine.py", "notes.txt"}
    assert outside.exists()


def test_an_index_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / index.FILE).write_text('{"packages": []}')
    with pytest.raises(DumpRefused, match="no dump has left"):
        Store(tmp_path)
    assert (tmp_path / index.FILE).read_text() == '{"packages": []}'


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DumpRefused, match="is a file"):
        Store(tmp_path / "file")


def test_threads_write_each_text_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    paths: list[Path] = []

    def write() -> None:
        paths.extend(store.write("code", f"x = {number % 5}\n")[0] for number in range(50))

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == len(list(tmp_path.iterdir())) == 5


@given(st.text())
def test_anything_becomes_a_file_that_parses(text: str) -> None:
    ast.parse(as_python(text))
    assert not ast.parse(commented(text)).body


def test_python_stays_as_it_is() -> None:
    assert as_python("x = 1") == "x = 1\n"
    assert as_python("class <lambda>: 1").startswith("# As comments")
