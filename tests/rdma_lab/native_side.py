"""One rank that is ours, set up by hand, for a peer that is not."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence

from tests.rdma_lab import guest
from tests.rdma_lab.rc_peer import DEPTH, POLL_BATCH, Name, RcPeer, pyverbs

from crossdock.proxy import _native, schema

MIB = 1 << 20
RANK, PEER = 0, 1
WORD = 0x5EC4E7
LAYOUT = schema.ImmediateLayout.for_job(8, 200, 128)
SWITCH, LEAVE = 1, 2
MESSAGE = struct.Struct("=IIIiQ")  # notice, generation, path, blame, received
PROOF_S = 5.0
WAIT_S = 10.0
PSN_STRIDE = 0x9E3779  # from generation to generation of a lane
RECEIVED = 1 << 7  # in the opcode of a completion
RECEIVES_BATCH = 32


class Ours:
    """Rank 0 of two, on rxe0: a communicator with one proxy and one path to its peer."""

    def __init__(self, mend_ms: int = 2000) -> None:
        self.native = _native.Communicator(_config())
        choice, options = _native.NicChoice(), _native.VerbsOptions()
        choice.device, options.mend_ms, options.silence_ms = "rxe0", mend_ms, 5000
        self.host = _native.VerbsHost(self.native, [choice], 1, options)
        self.memory = self.native.region_array(0)
        nic = self.host.contact()[0]
        words = struct.unpack("!8H", bytes(nic.address.gid))
        self.gid = ":".join(f"{word:04x}" for word in words)  # as pyverbs takes it
        # Where the peer writes, and with which key.
        self.region = nic.regions[0].base, nic.regions[0].keys[0]

    def push(self, commands: Sequence[schema.Command]) -> None:
        """Pushes commands, which must find room."""
        packed = [command.pack() for command in commands]
        result = self.native.push_all(0, packed, WAIT_S)
        assert result.status == _native.WaitStatus.DONE, result.status

    def arrived(self, counter: int, amount: int) -> None:
        """Waits until so much was added to a counter of the peer."""
        result = self.native.await_arrivals([PEER], counter, amount, WAIT_S)
        assert result.status == _native.WaitStatus.DONE, self.native.counter(PEER, counter)

    def close(self) -> None:
        """Forgets what holds the NIC."""
        del self.memory, self.host, self.native


def _config() -> _native.CommunicatorConfig:
    config = _native.CommunicatorConfig()
    config.rank, config.num_ranks, config.num_proxies = RANK, 2, 1
    config.threads, config.caretaker = True, False
    config.main_bytes = config.heap_bytes = MIB
    config.num_counters, config.ring_slots = 8, 4096
    config.layout = _native.ImmediateLayout(LAYOUT.counter_bits, LAYOUT.sequence_bits)
    return config


def contact_of(peer: RcPeer, length: int) -> _native.RemoteNic:
    """What a peer announces: its NIC, and its memory as both regions of the host."""
    name, address = peer.name(), _native.NicAddress()
    address.gid = list(socket.inet_pton(socket.AF_INET6, name.gid))
    address.mtu_bytes, address.ethernet = 4096, True
    region, nothing = _native.RemoteRegion(), _native.RemoteRegion()
    region.base, region.bytes, region.shift, region.keys = name.address, length, 63, [name.rkey]
    nothing.keys = []
    nic = _native.RemoteNic()
    nic.address, nic.counters = address, nothing
    nic.regions = [region, region, nothing]  # no memory of a device
    return nic


class Theirs:
    """The peer in pyverbs: its queue pair, its memory, and its end of the control channel."""

    def __init__(self) -> None:
        self.peer = RcPeer(1, MIB)
        self.receives_owed = DEPTH
        self.immediates: list[int] = []
        self.statuses: list[int] = []
        self.acknowledged = self.posted = 0
        self.control: socket.socket | None = None
        self.into = (0, 0)
        self.number = 0  # of our queue pair

    def connect(self, gid: str, number: int, generation: int = 0) -> None:
        """Takes the queue pair to where it can receive and send; it has receives from then on."""
        self.peer.connect(Name(gid, number, *self.into), generation * PSN_STRIDE & 0xFFFFFF)
        self.receives_owed = 0
        self.peer.receive(DEPTH)

    def write(self, immediate: int | None, length: int = 0, offset: int = 0) -> None:
        """Writes the head of its memory into region 0 of the other side."""
        base, key = self.into
        imm = None if immediate is None else socket.htonl(immediate)
        self.peer.write(length, base + offset, key, imm)
        self.posted += 1

    def poll(self) -> int:
        """Takes what is completed, and gives receives back."""
        count, found = self.peer.cq.poll(POLL_BATCH)
        for entry in found[:count]:
            if entry.status:
                self.statuses.append(entry.status)
            elif entry.opcode & RECEIVED:
                self.immediates.append(socket.ntohl(entry.imm_data))
                self.receives_owed += 1
            else:
                self.acknowledged += 1
        if self.receives_owed >= RECEIVES_BATCH:
            self.peer.receive(self.receives_owed)
            self.receives_owed = 0
        return int(count)

    def until(self, met: Callable[[], bool], what: str, seconds: float = WAIT_S) -> None:
        """Polls until a condition is met."""
        end = time.monotonic() + seconds
        while not met():
            if self.poll():
                continue
            if time.monotonic() > end:
                raise guest.LabTimeout(f"waited {seconds:g} s for {what}")
            time.sleep(0.0002)

    def say(self, notice: int, generation: int = 0, received: int = 0, blame: int = -1) -> None:
        """Sends a control message, of path 0."""
        assert self.control is not None
        self.control.sendall(MESSAGE.pack(notice, generation, 0, blame, received))

    def hear(self) -> tuple[int, int, int, int, int]:
        """The next control message: notice, generation, path, blame, received."""
        assert self.control is not None
        self.control.settimeout(WAIT_S)
        data = self.control.recv(MESSAGE.size, socket.MSG_WAITALL)
        notice, generation, path, blame, received = MESSAGE.unpack(data)
        return notice, generation, path, blame, received

    def fail_and_reset(self) -> None:
        """Takes its queue pair down, as a side does that mends a lane."""
        for state in ("IBV_QPS_ERR", "IBV_QPS_RESET"):
            wanted = pyverbs("qp").QPAttr(qp_state=getattr(pyverbs("enums"), state))
            self.peer.qp.modify(wanted, pyverbs("enums").IBV_QP_STATE)
            while self.poll():
                pass

    def close(self) -> None:
        """Gives all back."""
        if self.control is not None:
            self.control.close()
        self.peer.close()


def introduced(ours: Ours, theirs: Theirs, foreign: int = 0) -> None:
    """Both sides know each other; ``foreign`` is added to the number that ours is told."""
    theirs.into = ours.region
    ours.host.reach(PEER, [contact_of(theirs.peer, MIB)])
    (number,) = ours.host.queue_pairs(0, PEER)
    theirs.number = number
    theirs.connect(ours.gid, number)
    ours.host.connect(0, PEER, [theirs.peer.qp.qp_num + foreign])


def proved(ours: Ours, theirs: Theirs, word: int = WORD) -> None:
    """Each side sends its word; raises what ours makes of theirs."""
    failures: list[OSError] = []

    def prove() -> None:
        try:
            ours.host.prove(WORD, PROOF_S)
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=prove)
    thread.start()
    theirs.write(word)
    try:
        theirs.until(lambda: bool(theirs.immediates) or not thread.is_alive(), "a word")
    finally:
        thread.join()
    if failures:
        raise failures[0]
    # Our side may have heard and gone before theirs looked.
    theirs.until(lambda: bool(theirs.immediates), "a word")
    assert theirs.immediates == [WORD]
    theirs.immediates.clear()


def attached(ours: Ours, theirs: Theirs) -> None:
    """Connects the control channel and starts."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs.control = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    ours.host.attach(0, [(PEER, accepted.detach())])
    ours.native.start()
