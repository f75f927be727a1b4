"""A reliable connection made with pyverbs: a peer that shares no code with what is tested."""

from __future__ import annotations

import functools
import importlib
import sys
import time
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from tests.rdma_lab import guest

GID_INDEX = 1  # of a soft RoCE device: its IPv4 address
PORT = 1
DEPTH = 256
POLL_BATCH = 64
WAIT_S_MAX = 20.0
PAUSE_S = 0.0001


@functools.cache  # a look at the guest's files takes longer than a write
def pyverbs(module: str) -> ModuleType:
    """A module of Debian's pyverbs, which has no types to import it by."""
    if (path := guest.pyverbs_path()) not in sys.path:
        sys.path.append(path)
    return importlib.import_module(f"pyverbs.{module}")


def regular_access() -> int:
    """Local write, remote write, remote read, remote atomic."""
    enums = pyverbs("enums")
    return int(
        enums.IBV_ACCESS_LOCAL_WRITE
        | enums.IBV_ACCESS_REMOTE_WRITE
        | enums.IBV_ACCESS_REMOTE_READ
        | enums.IBV_ACCESS_REMOTE_ATOMIC
    )


@dataclass(frozen=True)
class Name:
    """What the other side must know to connect and to write."""

    gid: str
    qp: int
    address: int
    rkey: int


class RcPeer:
    """One side: a device with a memory region and a queue pair, whose completions are awaited."""

    def __init__(self, nic: int, length: int, depth: int = DEPTH) -> None:
        cq, qp = pyverbs("cq"), pyverbs("qp")
        self.context = pyverbs("device").Context(name=f"rxe{nic}")
        self.pd = pyverbs("pd").PD(self.context)
        self.mr = pyverbs("mr").MR(self.pd, length, regular_access())
        self.cq = cq.CQ(self.context, 2 * depth)
        # To make one takes longer than to carry it out.
        self.requests: dict[tuple[int, int, int, int | None], Any] = {}
        capacity = qp.QPCap(max_send_wr=depth, max_recv_wr=depth)
        wanted = qp.QPInitAttr(
            qp_type=pyverbs("enums").IBV_QPT_RC, scq=self.cq, rcq=self.cq, cap=capacity
        )
        self.qp = qp.QP(self.pd, wanted)

    def name(self) -> Name:
        """What is to be told to the other side."""
        gid = self.context.query_gid(PORT, GID_INDEX).gid
        return Name(gid, self.qp.qp_num, self.mr.buf, self.mr.rkey)

    def connect(self, peer: Name, sequence: int = 0) -> None:
        """Takes the queue pair to where it receives from and sends to a peer.

        ``sequence`` is the number of the first packet, both ways.
        """
        addr, qp, enums = pyverbs("addr"), pyverbs("qp"), pyverbs("enums")
        route = addr.GlobalRoute(dgid=addr.GID(peer.gid), sgid_index=GID_INDEX, hop_limit=64)
        attributes = qp.QPAttr(port_num=PORT)
        attributes.qp_access_flags = regular_access()
        attributes.ah_attr = addr.AHAttr(is_global=1, port_num=PORT, gr=route)
        attributes.dest_qp_num = peer.qp
        attributes.rq_psn = attributes.sq_psn = sequence
        attributes.path_mtu = enums.IBV_MTU_4096
        attributes.max_rd_atomic = attributes.max_dest_rd_atomic = 8
        attributes.timeout = 14
        attributes.retry_cnt = attributes.rnr_retry = 7
        attributes.min_rnr_timer = 12
        self.qp.to_rts(attributes)

    def write(self, length: int, address: int, rkey: int, imm: int | None = None) -> None:
        """Posts a write of the head of the memory region, with an immediate or without."""
        what = (length, address, rkey, imm)
        if what not in self.requests:
            self.requests[what] = self._request(*what)
        self.qp.post_send(self.requests[what])

    def _request(self, length: int, address: int, rkey: int, imm: int | None) -> Any:
        wr, enums = pyverbs("wr"), pyverbs("enums")
        plain, with_imm = enums.IBV_WR_RDMA_WRITE, enums.IBV_WR_RDMA_WRITE_WITH_IMM
        request = wr.SendWR(
            opcode=plain if imm is None else with_imm,
            imm_data=imm or 0,
            num_sge=1,
            sg=[wr.SGE(self.mr.buf, length, self.mr.lkey)],
            send_flags=enums.IBV_SEND_SIGNALED,
        )
        request.set_wr_rdma(rkey, address)
        return request

    def receive(self, count: int) -> None:
        """Posts receives; a write with an immediate takes one and leaves its buffer alone."""
        wr = pyverbs("wr")
        unused = wr.SGE(self.mr.buf, 1, self.mr.lkey)
        for _ in range(count):
            self.qp.post_recv(wr.RecvWR(num_sge=1, sg=[unused]))

    def completions(self, seconds: float = WAIT_S_MAX) -> list[Any]:
        """The completions that are there, at least one; sleeps for it, as the one CPU wants it."""
        deadline = time.monotonic() + seconds
        while True:
            count, found = self.cq.poll(POLL_BATCH)
            if count:
                return list(found)
            if time.monotonic() > deadline:
                raise guest.LabTimeout(f"no completion within {seconds:g} s")
            time.sleep(PAUSE_S)

    def close(self) -> None:
        """Gives all back, dependants first."""
        for part in (self.qp, self.cq, self.mr, self.pd, self.context):
            part.close()


def pair(length: int, nics: tuple[int, int] = (0, 1)) -> tuple[RcPeer, RcPeer]:
    """Two sides in one process, connected."""
    near, far = RcPeer(nics[0], length), RcPeer(nics[1], length)
    near.connect(far.name())
    far.connect(near.name())
    return near, far
