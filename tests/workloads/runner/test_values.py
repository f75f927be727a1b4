"""What a run keeps, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.runner import KeptUnreadable, Store

DTYPES = st.sampled_from(["f8", "f4", "i8", "u1", "?", "U3"])
ARRAYS = DTYPES.flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, max_dims=3, min_side=0))
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
NAMES = st.from_regex(r"[a-z_]{1,12}", fullmatch=True).filter(lambda name: name != "__json__")


@settings(max_examples=60, deadline=None)
@given(key=st.text(max_size=80), value=st.dictionaries(NAMES, ARRAYS | PLAIN, max_size=4))
def test_value_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: dict[str, Any]
) -> None:
    store = Store(tmp_path_factory.mktemp("kept"))
    assert store.get(key) is None
    store.put(key, value)
    back = store.get(key)
    assert back is not None
    assert back.keys() == value.keys()
    for name, one in value.items():
        if isinstance(one, np.ndarray):
            assert back[name].dtype == one.dtype
            np.testing.assert_array_equal(back[name], one)
        else:
            assert back[name] == one


def test_keys_that_look_alike_stay_apart(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keys = ["a/b", "a-b", "a b", "A-b", "x" * 300, "x" * 301, "", "."]
    for i, key in enumerate(keys):
        store.put(key, {"i": i})
    assert [store.get(key) for key in keys] == [{"i": i} for i in range(len(keys))]


@pytest.mark.parametrize(
    "value",
    [
        {"thing": object()},
        {"thing": np.array([object()])},
        {"__json__": 1},
        {"thing": {1, 2}},
    ],
    ids=["object", "array of objects", "reserved key", "set"],
)
def test_what_cannot_be_kept_is_refused_and_nothing_lost(tmp_path: Path, value: Any) -> None:
    store = Store(tmp_path)
    store.put("key", {"before": 1})
    with pytest.raises(ArgumentError, match=r"'key' cannot be kept"):
        store.put("key", value)
    assert store.get("key") == {"before": 1}


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not really", b"text"])
def test_damaged_file_is_named(tmp_path: Path, damage: bytes) -> None:
    store = Store(tmp_path)
    store.put("key", {"array": np.arange(100)})
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage)
    with pytest.raises(KeptUnreadable, match=rf"{file.name} is damaged.*delete it"):
        store.get("key")


def test_cut_file_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("key", {"array": np.arange(100)})
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for length in range(0, len(whole), 97):
        file.write_bytes(whole[:length])
        with pytest.raises(KeptUnreadable):
            store.get("key")
