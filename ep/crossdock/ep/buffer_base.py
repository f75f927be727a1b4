"""What all calls of a Buffer share: its memory, its communicator, its stream, and its life."""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from crossdock.ep import _native
from crossdock.ep.gpu import peers
from crossdock.ep.gpu.platform import Platform, platform_of
from crossdock.ep.gpu.region import Region
from crossdock.ep.groups import exchange_of
from crossdock.ep.stream import CommStream
from crossdock.ep.tensors import CPU, expect_whole
from crossdock.ep.versions import with_known_arguments
from crossdock.proxy import Communicator, Exchange, Options
from crossdock.proxy.bootstrap import agree
from crossdock.proxy.errors import ArgumentError, CapacityError, DestroyedError, MismatchError

if TYPE_CHECKING:
    from crossdock.ep.gpu.gpu import Gpu

_LEAST_REGION_BYTES = 4096
_DEFAULT_SLEEP_US = Options().proxy_sleep_us
_GRACE_S = 0.5
"""For asynchronous calls to end by themselves before ``destroy`` ends them."""
_FAREWELL_S = 0.2
"""For each further step of ``destroy`` when calls had to be ended."""


@with_known_arguments
class BufferBase:
    """Memory and life of a Buffer; see ``crossdock.ep.Buffer`` for the arguments."""

    def __init__(
        self,
        group: object,
        num_nvl_bytes: int = 0,
        num_rdma_bytes: int = 0,
        low_latency_mode: bool = False,
        num_qps_per_rank: int = 24,
        allow_nvlink_for_low_latency_mode: bool = True,
        allow_mnnvl: bool = False,
        explicitly_destroy: bool = False,
        enable_shrink: bool = False,
        comm: object = None,
        use_fabric: bool = False,
        *,
        device: object = None,
        options: Options | None = None,
    ) -> None:
        del num_qps_per_rank, allow_nvlink_for_low_latency_mode, allow_mnnvl, use_fabric
        # First: a rank that refuses below must have counted this meeting as the others do.
        exchange = exchange_of(group, comm)
        platform = platform_of(device)
        options = Options.from_environment() if options is None else options
        if platform is not None and options.proxy_sleep_us == _DEFAULT_SLEEP_US:
            options = dataclasses.replace(options, proxy_sleep_us=0)
        self.group = group
        # On the device of this rank, for rows that its neighbours write there.
        inbox_bytes = options.inbox_bytes if platform is not None and options.peer_access else 0
        sizes = _agreed_sizes(
            exchange, options.timeout_s, num_nvl_bytes, num_rdma_bytes, inbox_bytes
        )
        self.num_nvl_bytes, self.num_rdma_bytes = sizes.nvl, sizes.rdma
        self.low_latency_mode = low_latency_mode
        self.explicitly_destroy = explicitly_destroy
        self.enable_shrink = enable_shrink
        self._low_latency_at = -(-self.num_nvl_bytes // 256) * 256
        self.communicator = Communicator(
            exchange,
            options,
            main_bytes=max(_LEAST_REGION_BYTES, self._low_latency_at + self.num_rdma_bytes),
            num_counters=_native.NUM_COUNTERS,
            device_memory=self._region_for_nics(platform, options),
        )
        self.rank = self.communicator.rank
        self.group_size = self.communicator.size
        self._engine = _native.Engine(
            self.communicator.native.device_view(),
            list(self.communicator.node_of),
            self._low_latency_at,
            self.num_rdma_bytes,
        )
        # Calls run with the memory of the native communicator, whoever destroys it meanwhile.
        communicator = self.communicator
        self._stream = CommStream(communicator.abort, lambda: communicator.native)
        self._leaving = threading.Lock()  # taken for good by the first to destroy
        self.device = CPU if platform is None else platform.device
        self._gpu: Gpu | None = None
        shares_inboxes = sizes.inboxes > 1 and self._control_bytes > 0
        try:
            if platform is not None:
                inbox = inbox_bytes if shares_inboxes else None
                self._gpu = self._gpu_of(platform, exchange, inbox)
            elif shares_inboxes:
                peers.meet(self.communicator, exchange, None, None)
        except BaseException:
            self.communicator.destroy(_FAREWELL_S)
            raise

    def get_comm_stream(self) -> CommStream:
        """The stream on which operations run."""
        self._expect_alive()
        return self._stream

    def get_local_buffer_tensor(
        self,
        dtype: torch.dtype,
        size: torch.Size | None = None,
        offset: int = 0,
        use_rdma_buffer: bool = False,
    ) -> torch.Tensor:
        """The memory of the normal or, with ``use_rdma_buffer``, the low-latency mode as a tensor.

        Args:
            dtype: of the tensor.
            size: of the tensor; None for all that is there, flat.
            offset: bytes to skip.
        """
        self._expect_alive()
        whole = torch.from_numpy(self.communicator.region_array(0))
        start = self._low_latency_at if use_rdma_buffer else 0
        length = self.num_rdma_bytes if use_rdma_buffer else self.num_nvl_bytes
        if use_rdma_buffer and self._gpu is not None:
            whole, start = self._gpu.region(), 0
        wanted = length - offset if size is None else size.numel() * dtype.itemsize
        if offset < 0 or offset % dtype.itemsize or wanted < 0 or offset + wanted > length:
            raise CapacityError(
                f"{wanted} bytes of {dtype} from offset {offset} do not fit the {length} bytes"
            )
        count = wanted // dtype.itemsize
        flat = whole[start + offset : start + offset + count * dtype.itemsize].view(dtype)
        return flat if size is None else flat.view(size)

    @property
    def writes_to_peers(self) -> bool:
        """Whether rows of the normal mode go from this rank's GPU straight into those of all other
        ranks, as far as their inboxes have room."""
        normal = None if self._gpu is None else self._gpu.normal
        return normal is not None and normal.writes_to_peers

    def destroy(self) -> None:
        """Leave the job; results stay valid. Raises DestroyedError the second time.

        Calls of other threads get DestroyedError, now, and so do asynchronous calls that do not
        end by themselves within half a second. The ranks they were made with get PeerLost.

        On a GPU a graph that holds calls of the Buffer must not be replayed any more. Memory into
        which a neighbour may still write is kept until it has destroyed its Buffer, too, or ended.

        Raises:
            ArgumentError: a graph is being captured.
        """
        if self._gpu is not None:
            self._gpu.expect_no_capture()
        if self.communicator.destroyed or not self._leaving.acquire(blocking=False):
            raise self._gone()
        try:
            rests = self._stream.rests(_GRACE_S)
            if self._gpu is not None:
                self._gpu.release(_GRACE_S)
        finally:
            self.communicator.destroy(None if rests else _FAREWELL_S)
        if self._gpu is not None:
            self._gpu.free()
        self._stream.close(None if rests else _FAREWELL_S)

    @property
    def _region_bytes(self) -> int:
        """Of the low-latency region on the device."""
        return self.num_rdma_bytes if self.low_latency_mode else 0

    def _region_for_nics(
        self, platform: Platform | None, options: Options
    ) -> Callable[[], Region] | None:
        """Makes the region on the device, if NICs may write into it."""
        if platform is None or not self._region_bytes:
            return None
        if not (platform.nics_may_write and options.gpu_direct):
            return None
        return functools.partial(Region, platform, self._region_bytes)

    @property
    def _control_bytes(self) -> int:
        """For messages of the normal mode by kernels; 0 where the host runs it."""
        needed = _native.normal_bytes(self.group_size)
        # Between nodes gateways forward rows, which the host does.
        return needed if self._engine.num_nodes == 1 and self.num_nvl_bytes >= needed else 0

    def _gpu_of(self, platform: Platform, exchange: Exchange, inbox_bytes: int | None) -> Gpu:
        from crossdock.ep.gpu.gpu import Gpu  # needs Triton

        return Gpu(
            platform,
            self.communicator,
            exchange,
            self._engine,
            region_at=self._low_latency_at,
            region_bytes=self._region_bytes,
            control_bytes=self._control_bytes,
            inbox_bytes=inbox_bytes,
            masking=self.enable_shrink,
        )

    def _expect_alive(self) -> None:
        if self.communicator.destroyed or self._leaving.locked():
            raise self._gone()
        # Before any lock: in a forked child one may be held by a thread that is not there.
        self.communicator.expect_own_process()

    def _gone(self) -> DestroyedError:
        return DestroyedError(f"rank {self.rank}: the Buffer is destroyed; build a new one")


@dataclasses.dataclass(frozen=True)
class _Sizes:
    """Bytes of the normal and of the low-latency mode, and how many ranks have an inbox."""

    nvl: int
    rdma: int
    inboxes: int


def _agreed_sizes(
    exchange: Exchange,
    timeout_s: float,
    num_nvl_bytes: object,
    num_rdma_bytes: object,
    inbox_bytes: int,
) -> _Sizes:
    """Ranks write into each other's regions at places that follow from these sizes."""

    def sizes() -> list[int]:
        nvl = expect_whole("num_nvl_bytes", num_nvl_bytes)
        rdma = expect_whole("num_rdma_bytes", num_rdma_bytes)
        if nvl < 0 or rdma < 0:
            raise ArgumentError(
                f"num_nvl_bytes is {nvl} and num_rdma_bytes is {rdma}, but neither may be negative"
            )
        return [nvl, rdma, inbox_bytes]

    gathered = agree(exchange, timeout_s, list[int], sizes, "build a Buffer")
    nvl, rdma, _ = gathered[exchange.rank]
    mine = [nvl, rdma]
    for peer, (*theirs, _) in enumerate(gathered):
        if theirs != mine:
            raise MismatchError(
                f"rank {exchange.rank}: num_nvl_bytes and num_rdma_bytes are {mine} here, but "
                f"{theirs} on rank {peer}; they must be the same on every rank"
            )
    return _Sizes(nvl, rdma, sum(inbox > 0 for _, _, inbox in gathered))
