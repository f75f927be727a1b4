"""Tuning that DeepEP's callers pass: checked, kept, and without effect on sizes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crossdock.ep import Buffer, Config
from crossdock.proxy.errors import ArgumentError


@pytest.fixture(autouse=True)
def usual_sms() -> Iterator[None]:
    """The number of SMs is the class's; it is put back."""
    before = Buffer.num_sms
    yield
    Buffer.num_sms = before


def test_fields_and_defaults_are_those_of_deep_ep() -> None:
    config = Config()
    assert (
        config.num_sms,
        config.num_max_nvl_chunked_send_tokens,
        config.num_max_nvl_chunked_recv_tokens,
        config.num_max_rdma_chunked_send_tokens,
        config.num_max_rdma_chunked_recv_tokens,
    ) == (20, 6, 256, 6, 256)
    assert Config(24, 8, 128, 16, 512) == Config(
        num_sms=24,
        num_max_nvl_chunked_send_tokens=8,
        num_max_nvl_chunked_recv_tokens=128,
        num_max_rdma_chunked_send_tokens=16,
        num_max_rdma_chunked_recv_tokens=512,
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0,), "num_sms is 0, but must be even and positive"),
        ((21,), "num_sms is 21"),
        ((20, 0), "num_max_nvl_chunked_send_tokens is 0"),
        ((20, 6, 6), "less than num_max_nvl_chunked_recv_tokens, which is 6"),
        ((20, 6, 256, 300, 256), "num_max_rdma_chunked_send_tokens is 300"),
    ],
)
def test_nonsense_is_refused(values: tuple[int, ...], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Config(*values)


def test_configs_for_a_number_of_ranks() -> None:
    Buffer.set_num_sms(24)
    for ranks in (1, 2, 3, 8, 144):
        assert Buffer.get_dispatch_config(ranks) == Config(24)
        assert Buffer.get_combine_config(ranks) == Config(24)
    for get in (Buffer.get_dispatch_config, Buffer.get_combine_config):
        with pytest.raises(ArgumentError, match="num_ranks is 0"):
            get(0)


@pytest.mark.parametrize("number", [7, 0, -2])
def test_an_odd_number_of_sms_is_refused(number: int) -> None:
    with pytest.raises(ArgumentError, match=f"num_sms is {number}, but must be even and positive"):
        Buffer.set_num_sms(number)


def test_hints_do_not_depend_on_the_width() -> None:
    config = Config()
    for ranks in (1, 2, 8, 64):
        hints = {config.get_nvl_buffer_size_hint(width, ranks) for width in (16, 14336)}
        assert len(hints) == 1
        assert config.get_rdma_buffer_size_hint(14336, ranks) == 0
    assert config.get_nvl_buffer_size_hint(14336, 8) < 1 << 20


def test_hints_of_nonsense_are_refused() -> None:
    for hint in (Config().get_nvl_buffer_size_hint, Config().get_rdma_buffer_size_hint):
        with pytest.raises(ArgumentError, match="hidden_bytes is 0, but must be positive"):
            hint(0, 8)
        with pytest.raises(ArgumentError, match="num_ranks is -1, but must be positive"):
            hint(16, -1)


def test_no_cuda_kernels_are_claimed() -> None:
    assert not Buffer.is_sm90_compiled()
