"""A plain TCP connection over loopback, blocking: what a transport over sockets stands on."""

from __future__ import annotations

import socket

from crossdock.bench.ranks import Rank

NAME = "socket"
LOOPBACK = "127.0.0.1"


def connect(rank: Rank) -> socket.socket:
    """This rank's end of a connection between ranks 0 and 1; collective."""
    if rank.rank == 0:
        with socket.create_server((LOOPBACK, 0)) as server:
            server.settimeout(rank.deadline_s)
            rank.gather(str(server.getsockname()[1]).encode())
            connected, _ = server.accept()
    else:
        port = int(rank.gather(b"")[0])
        connected = socket.create_connection((LOOPBACK, port), rank.deadline_s)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.settimeout(None)
    return connected
