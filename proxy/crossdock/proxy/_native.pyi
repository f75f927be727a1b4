"""The native core of crossdock.proxy."""

from collections.abc import Sequence
import enum
from typing import Annotated

import numpy
from numpy.typing import NDArray


class WaitStatus(enum.Enum):
    DONE = 0

    FAULT = 1

    PEER_GONE = 2

    DEADLINE = 3

class FaultCode(enum.Enum):
    NONE = 0

    ABORTED = 1

    PEER_LOST = 2

    BAD_COMMAND = 3

    BAD_IMMEDIATE = 4

    SEQUENCE_OVERRUN = 5

    SEALED_TWICE = 6

class CommandCheck(enum.Enum):
    PEER = 0

    SOURCE = 1

    DESTINATION = 2

    COUNTER = 3

    OP = 4

    VALUE = 5

class PeerState(enum.Enum):
    ALIVE = 0

    LEFT = 1

    LOST = 2

    MASKED = 3

class Loss(enum.Enum):
    NONE = 0

    PROCESS_ENDED = 1

    CONNECTION_CLOSED = 2

    BAD_FRAME = 3

    ABORTED = 4

    IO_ERROR = 5

class RecordKind(enum.Enum):
    NONE = 0

    COMMAND = 1

    COMPLETION = 2

    IMMEDIATE = 3

    DROPPED = 4

class WaitResult:
    @property
    def status(self) -> WaitStatus: ...

    @property
    def missing(self) -> list[int]: ...

class Record:
    @property
    def number(self) -> int: ...

    @property
    def kind(self) -> RecordKind: ...

    @property
    def peer(self) -> int: ...

    @property
    def word(self) -> int: ...

class ProxyLimits:
    def __init__(self) -> None: ...

    @property
    def window(self) -> int: ...

    @window.setter
    def window(self, arg: int, /) -> None: ...

    @property
    def writes_per_peer(self) -> int: ...

    @writes_per_peer.setter
    def writes_per_peer(self, arg: int, /) -> None: ...

    @property
    def bytes(self) -> int: ...

    @bytes.setter
    def bytes(self, arg: int, /) -> None: ...

class ImmediateLayout:
    def __init__(self, counter_bits: int, sequence_bits: int) -> None: ...

    @property
    def counter_bits(self) -> int: ...

    @counter_bits.setter
    def counter_bits(self, arg: int, /) -> None: ...

    @property
    def sequence_bits(self) -> int: ...

    @sequence_bits.setter
    def sequence_bits(self, arg: int, /) -> None: ...

class CommunicatorConfig:
    def __init__(self) -> None: ...

    @property
    def rank(self) -> int: ...

    @rank.setter
    def rank(self, arg: int, /) -> None: ...

    @property
    def num_ranks(self) -> int: ...

    @num_ranks.setter
    def num_ranks(self, arg: int, /) -> None: ...

    @property
    def num_proxies(self) -> int: ...

    @num_proxies.setter
    def num_proxies(self, arg: int, /) -> None: ...

    @property
    def threads(self) -> bool: ...

    @threads.setter
    def threads(self, arg: bool, /) -> None: ...

    @property
    def caretaker(self) -> bool: ...

    @caretaker.setter
    def caretaker(self, arg: bool, /) -> None: ...

    @property
    def cpus(self) -> list[int]: ...

    @cpus.setter
    def cpus(self, arg: Sequence[int], /) -> None: ...

    @property
    def main_bytes(self) -> int: ...

    @main_bytes.setter
    def main_bytes(self, arg: int, /) -> None: ...

    @property
    def heap_bytes(self) -> int: ...

    @heap_bytes.setter
    def heap_bytes(self, arg: int, /) -> None: ...

    @property
    def num_counters(self) -> int: ...

    @num_counters.setter
    def num_counters(self, arg: int, /) -> None: ...

    @property
    def layout(self) -> ImmediateLayout: ...

    @layout.setter
    def layout(self, arg: ImmediateLayout, /) -> None: ...

    @property
    def ring_slots(self) -> int: ...

    @ring_slots.setter
    def ring_slots(self, arg: int, /) -> None: ...

    @property
    def epoch(self) -> int: ...

    @epoch.setter
    def epoch(self, arg: int, /) -> None: ...

    @property
    def limits(self) -> ProxyLimits: ...

    @limits.setter
    def limits(self, arg: ProxyLimits, /) -> None: ...

class Block:
    @property
    def offset(self) -> int: ...

    @property
    def bytes(self) -> int: ...

    @property
    def address(self) -> int: ...

class Communicator:
    def __init__(self, config: CommunicatorConfig) -> None: ...

    def start(self) -> None: ...

    @property
    def num_proxies(self) -> int: ...

    def attach_tcp(self, proxy: int, sockets: Sequence[tuple[int, Sequence[int]]], queue_depth: int, silence_ms: int) -> None: ...

    def progress(self) -> bool: ...

    def begin_epoch(self, epoch: int) -> None: ...

    def shut_down(self, blame: int) -> None: ...

    def device_view(self) -> int: ...

    def push_all(self, ring: int, commands: Sequence[bytes], timeout_s: float) -> WaitResult: ...

    def fenced(self) -> bool: ...

    def await_fence(self, timeout_s: float) -> WaitResult: ...

    def await_arrivals(self, peers: Sequence[int], counter: int, amount: int, timeout_s: float, together: bool = False) -> WaitResult: ...

    def consume(self, peers: Sequence[int], counter: int, amount: int) -> None: ...

    def counter(self, peer: int, index: int) -> tuple[int, int, bool]: ...

    def allocate(self, bytes: int) -> Block: ...

    @staticmethod
    def block_array(block: Block) -> Annotated[NDArray[numpy.uint8], dict(shape=(None,))]: ...

    def region_array(self, region: int) -> Annotated[NDArray[numpy.uint8], dict(shape=(None,))]: ...

    def heap_used(self) -> int: ...

    def heap_total(self) -> int: ...

    def open_window(self, region: int, address: int, bytes: int) -> None: ...

    def close_window(self, region: int) -> None: ...

    def peer_state(self, peer: int) -> tuple[PeerState, Loss, int]: ...

    def set_peer_region(self, peer: int, region: int, bytes: int) -> None: ...

    def fault(self) -> tuple[FaultCode, int, int]: ...

    def statistics(self, proxy: int) -> dict: ...

    def records(self, proxy: int, count: int) -> list[Record]: ...

class ShmAnnouncement:
    def __init__(self) -> None: ...

    @property
    def pid(self) -> int: ...

    @pid.setter
    def pid(self, arg: int, /) -> None: ...

    @property
    def control_fd(self) -> int: ...

    @control_fd.setter
    def control_fd(self, arg: int, /) -> None: ...

    @property
    def region_fds(self) -> list[int]: ...

    @region_fds.setter
    def region_fds(self, arg: Sequence[int], /) -> None: ...

    @property
    def region_bytes(self) -> list[int]: ...

    @region_bytes.setter
    def region_bytes(self, arg: Sequence[int], /) -> None: ...

    @property
    def nonce(self) -> int: ...

    @nonce.setter
    def nonce(self, arg: int, /) -> None: ...

class ShmHost:
    def __init__(self, communicator: Communicator, nonce: int) -> None: ...

    def announcement(self) -> ShmAnnouncement: ...

    def reach(self, peer: int, announcement: ShmAnnouncement) -> None: ...

    def forget(self, peer: int) -> None: ...

    def attach(self) -> None: ...
