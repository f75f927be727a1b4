"""A profile is read as it was written, or refused with the name of the file and the field."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.serving.turbospec.test_cost import COSTS
from tests.serving.turbospec.test_fitting import GRID

from crossdock.serving.turbospec import profile, store
from crossdock.serving.turbospec.profile import Cell, Key, Profile, ProfileError, errors_of, load

KEY = Key(model="llama", draft="ngram", hardware="1 x GPU", engine="vllm 0.32.0")
_FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def cells() -> tuple[Cell, ...]:
    return tuple(
        Cell(
            requests=work.requests,
            tokens=work.tokens,
            context=work.context,
            draft_length=work.draft_length,
            seconds=COSTS.seconds(work) * (1.1 if place == 3 else 1.0),
            spread=1e-4,
            count=5,
        )
        for place, work in enumerate(GRID)
    )


def whole() -> Profile:
    measured = cells()
    return Profile(
        format=profile.FORMAT,
        key=KEY,
        costs=COSTS,
        cells=measured,
        errors=errors_of(COSTS, measured),
        left_out=("64 requests: no time was left",),
    )


def loaded(file: pathlib.Path) -> Profile | None:
    """The profile; None where it is refused in the way that is promised."""
    try:
        return load(file)
    except ProfileError as error:
        if str(file) not in str(error):
            raise
        return None


def changed(*path: str | int, value: Any) -> bytes:
    """The JSON of a profile with another value in one place."""
    plain = msgspec.to_builtins(whole())
    place = plain
    for step in path[:-1]:
        if isinstance(place[step], tuple):
            place[step] = list(place[step])
        place = place[step]
    place[path[-1]] = value
    return msgspec.json.encode(plain)


def test_is_read_as_it_was_written(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "profile.json"
    whole().save(file)
    assert load(file) == whole()
    assert os.listdir(tmp_path) == ["profile.json"]  # noqa: PTH208 - hidden files, too


def test_errors_are_of_the_worst_cell() -> None:
    errors = errors_of(COSTS, cells())
    assert errors.worst == pytest.approx(1 - 1 / 1.1)
    assert errors.worst_cell == 3
    assert errors.median == pytest.approx(0)
    assert 0.99 < errors.r2 < 1


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("format",), 99, "format is 99"),
        (("format",), "1", r"\$.format"),
        (("key", "model"), None, r"\$.key.model"),
        (("key", "colour"), "red", "colour"),
        (("costs", "step_s"), -1.0, "step_s"),
        (("costs", "knots"), [3.0, 1.0], "knots"),
        (("cells",), [], "cells is empty"),
        (("cells", 2, "seconds"), 0.0, r"cells\[2\].seconds"),
        (("cells", 2, "spread"), -1.0, r"cells\[2\].seconds is .* and .spread"),
        (("cells", 2, "requests"), 0, r"cells\[2\]"),
        (("cells", 2, "tokens"), 1.5, r"\$.cells\[2\].tokens"),
        (("cells", 13, "tokens"), 1, r"cells\[13\].tokens"),
        (("errors", "worst_cell"), 1000, "errors.worst_cell"),
        (("errors", "median"), 9.0, "errors do not rise"),
        (("errors", "r2"), 1.5, "errors.r2"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(
    tmp_path: pathlib.Path, path: tuple[str | int, ...], value: Any, said: str
) -> None:
    file = tmp_path / "profile.json"
    file.write_bytes(changed(*path, value=value))
    with pytest.raises(ProfileError, match=f"profile.json: .*{said}"):
        load(file)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b'{"format": 1}', b"null"])
def test_other_files_are_refused(tmp_path: pathlib.Path, data: bytes) -> None:
    file = tmp_path / "profile.json"
    file.write_bytes(data)
    with pytest.raises(ProfileError, match=r"profile\.json: not a profile"):
        load(file)


def test_a_file_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "MOST_BYTES", 1000)
    with pytest.raises(ProfileError, match="1000 bytes at most"):
        load(pathlib.Path("/dev/zero"))


def test_what_cannot_be_read_is_said(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ProfileError, match="could not be read: No such file"):
        load(tmp_path / "none.json")
    with pytest.raises(ProfileError, match="could not be read: Is a directory"):
        load(tmp_path)


@_FUZZ
@given(place=st.integers(0, 1 << 20), length=st.integers(0, 40), filler=st.binary(max_size=40))
def test_damage_is_refused_or_harmless(
    tmp_path: pathlib.Path, place: int, length: int, filler: bytes
) -> None:
    whole_file = msgspec.json.encode(whole())
    place %= len(whole_file)
    file = tmp_path / "profile.json"
    file.write_bytes(whole_file[:place] + filler + whole_file[place + length :])
    found = loaded(file)
    if found is not None:
        assert all(cell.seconds > 0 for cell in found.cells)
        assert all(found.costs.seconds(cell.work) > 0 for cell in found.cells)


@_FUZZ
@given(
    cell=st.integers(0, len(GRID) - 1),
    field=st.sampled_from(Cell.__struct_fields__),
    value=st.one_of(
        st.floats(allow_nan=True), st.integers(), st.none(), st.text(max_size=3), st.booleans()
    ),
)
def test_a_wrong_value_in_a_cell_is_refused_or_makes_sense(
    tmp_path: pathlib.Path, cell: int, field: str, value: Any
) -> None:
    file = tmp_path / "profile.json"
    file.write_bytes(changed("cells", cell, field, value=value))
    found = loaded(file)
    if found is not None:
        assert found.cells[cell].tokens >= found.cells[cell].requests >= 1
        assert found.cells[cell].context >= 0
        assert 0 < found.cells[cell].seconds < float("inf")


def test_of_another_engine_is_refused_by_what_differs() -> None:
    whole().check(KEY)
    other = msgspec.structs.replace(KEY, hardware="2 x GPU", engine="vllm 0.33.0")
    with pytest.raises(ProfileError, match=r"hardware is '1 x GPU' there, .*; engine is"):
        whole().check(other)


def test_a_writer_that_is_stopped_leaves_the_old_file(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "profile.json"
    whole().save(file)
    before = file.read_bytes()

    def interrupted(_handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        msgspec.structs.replace(whole(), left_out=()).save(file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["profile.json"]


def test_a_place_that_cannot_be_written_is_said() -> None:
    with pytest.raises(ProfileError, match=r"/no/such/x.json: .*could not be written"):
        whole().save(pathlib.Path("/no/such/x.json"))


def test_each_engine_has_a_place(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "kept"))
    assert store.find(KEY) is None
    path = store.keep(whole())
    assert path.parent == tmp_path / "kept"
    assert store.find(KEY) == whole()
    assert store.find(msgspec.structs.replace(KEY, draft="eagle")) is None
    path.write_text("{")
    with pytest.raises(ProfileError, match="not a profile"):
        store.find(KEY)


def test_a_file_in_the_place_of_another_engine_is_refused(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(store.VARIABLE, str(tmp_path))
    other = msgspec.structs.replace(KEY, model="another/model")
    whole().save(store.path_of(other))
    with pytest.raises(ProfileError, match="model is 'llama' there, but 'another/model' here"):
        store.find(other)


def test_a_place_follows_the_users_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(store.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    path = store.path_of(msgspec.structs.replace(KEY, model="/a/b c/../d"))
    assert path.parent == pathlib.Path("/cache/crossdock/profiles")
    assert path.name.startswith("a-b-c-..-d-")
