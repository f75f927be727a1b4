"""Text of one rank becomes text of any rank, and what matters stays."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossdock.decompile.cluster import canonical


def told(address: int, device: int, count: int, folder: str) -> str:
    return (
        f"check_tensor(L['x'], device={device}, size=[3]) cuda:{device} "
        f"___check_obj_id(G['f'], {address}) <f at {address:#x}> G['__builtins_dict___{count}'] "
        f"__compiled_fn_{count} '/tmp/{folder}/cache' device(type='cuda', index={device})"
    )


NUMBERS = st.integers(0, 9), st.integers(0, 99)
NAMES = st.text("abcdefghijkl0123", min_size=1)


@settings(deadline=None)
@given(*[st.integers(10**13, 10**14)] * 2, *NUMBERS, *NUMBERS, NAMES, NAMES)
def test_what_one_rank_has_for_itself_does_not_count(
    here: int, there: int, device: int, count: int, other: int, further: int, ours: str, its: str
) -> None:
    assert canonical.text(told(here, device, count, ours)) == canonical.text(
        told(there, other, further, its)
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("check_tensor(L['x'], size=[3])", "check_tensor(L['x'], size=[4])"),
        ("cuda:1", "cpu"),
        ("L['n'] == 1", "L['n'] == 2"),
        ("__resume_at_10_2", "__resume_at_12_2"),
    ],
)
def test_what_matters_stays(one: str, other: str) -> None:
    assert canonical.text(one) != canonical.text(other)


def test_symbols_are_counted_from_nought_and_told_apart() -> None:
    assert canonical.lines(["s77, s27: s77", "u3"]) == canonical.lines(["s5, s6: s5", "u9"])
    assert canonical.lines(["s77, s27"]) != canonical.lines(["s77, s77"])


@pytest.mark.parametrize(
    ("file", "root", "place"),
    [
        ("/job/model/a.py", "/job", "model/a.py"),
        ("/home/x/.venv/lib/python3.11/site-packages/torch/nn/a.py", "/job", "torch/nn/a.py"),
        ("/usr/lib/python3.11/functools.py", "/job", "functools.py"),
        ("/tmp/tmpab12/made.py", "/job", "made.py"),
        ("/anywhere/a.py", "", "a.py"),
    ],
)
def test_a_file_has_one_name_on_all_ranks(file: str, root: str, place: str) -> None:
    assert canonical.place(file, root) == place


def test_whose_a_file_is() -> None:
    assert canonical.is_users("/job/model.py")
    assert not canonical.is_users("/x/lib/python3.11/site-packages/torch/a.py")
    assert not canonical.is_users("<string>")
