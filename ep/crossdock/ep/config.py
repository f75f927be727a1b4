"""Tuning and sizes of the normal mode."""

from __future__ import annotations

import dataclasses

from crossdock.ep import _native
from crossdock.ep.versions import with_known_arguments
from crossdock.proxy.errors import ArgumentError

RECOMMENDED_SMS = 20


@with_known_arguments
@dataclasses.dataclass(frozen=True)
class Config:
    """What DeepEP lets users tune; the sizes hint at what a ``Buffer`` needs.

    The proxies pace themselves by limits in flight, so the chunk sizes change nothing here. They
    are checked and kept, because callers pass and read them.
    """

    num_sms: int = RECOMMENDED_SMS
    num_max_nvl_chunked_send_tokens: int = 6
    num_max_nvl_chunked_recv_tokens: int = 256
    num_max_rdma_chunked_send_tokens: int = 6
    num_max_rdma_chunked_recv_tokens: int = 256

    def __post_init__(self) -> None:
        if self.num_sms <= 0 or self.num_sms % 2:
            raise ArgumentError(f"num_sms is {self.num_sms}, but must be even and positive")
        for kind in ("nvl", "rdma"):
            send = getattr(self, f"num_max_{kind}_chunked_send_tokens")
            receive = getattr(self, f"num_max_{kind}_chunked_recv_tokens")
            if not 0 < send < receive:
                raise ArgumentError(
                    f"num_max_{kind}_chunked_send_tokens is {send}, but must be positive and less "
                    f"than num_max_{kind}_chunked_recv_tokens, which is {receive}"
                )

    def get_nvl_buffer_size_hint(self, hidden_bytes: int, num_ranks: int) -> int:
        """Bytes that ``Buffer(num_nvl_bytes=...)`` needs for the normal mode, exactly.

        They hold control messages only: rows go straight into results, which are allocated as
        they come, so ``hidden_bytes`` does not matter.
        """
        _expect_positive(hidden_bytes=hidden_bytes, num_ranks=num_ranks)
        return _native.normal_bytes(num_ranks)

    def get_rdma_buffer_size_hint(self, hidden_bytes: int, num_ranks: int) -> int:
        """Bytes that ``Buffer(num_rdma_bytes=...)`` needs for the normal mode: none."""
        _expect_positive(hidden_bytes=hidden_bytes, num_ranks=num_ranks)
        return 0


def _expect_positive(**values: int) -> None:
    for name, value in values.items():
        if value <= 0:
            raise ArgumentError(f"{name} is {value}, but must be positive")
