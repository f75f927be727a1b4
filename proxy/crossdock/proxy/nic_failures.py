"""What the failure of a NIC means, in words: which operation, how it ended, what may help."""

from __future__ import annotations

from crossdock.proxy import _native

_STATUSES = {
    # ibv_wc_status: name, what it says, what may help.
    1: ("LOC_LEN_ERR", "the message was longer than the receiver takes", "this is a fault here"),
    2: ("LOC_QP_OP_ERR", "the queue pair was not fit for the operation", "this is a fault here"),
    4: (
        "LOC_PROT_ERR",
        "the source is not registered with the NIC",
        "memory was freed while it was sent from, or never registered",
    ),
    5: ("WR_FLUSH_ERR", "the queue pair had failed before", "an earlier error tells why"),
    9: ("REM_INV_REQ_ERR", "the peer's NIC refused the request", "do both sides' drivers agree?"),
    10: (
        "REM_ACCESS_ERR",
        "the peer's NIC does not let this rank write there",
        "the peer has left, or its memory was registered anew",
    ),
    11: ("REM_OP_ERR", "the peer's NIC could not carry it out", "look at the peer's kernel log"),
    12: (
        "RETRY_EXC_ERR",
        "the peer's NIC did not answer however often it was tried",
        "is its link up, are PFC or ECN set up, would fewer CROSSDOCK_BYTES_IN_FLIGHT do?",
    ),
    13: (
        "RNR_RETRY_EXC_ERR",
        "the peer was not ready to receive however often it was tried",
        "is the peer stopped, or much slower than this rank?",
    ),
    19: ("FATAL_ERR", "the NIC failed", "look at this host's kernel log"),
    20: (
        "RESP_TIMEOUT_ERR",
        "the peer's NIC did not respond",
        "is the peer's host alive, is its link up, do security groups let EFA traffic through?",
    ),
    21: ("GENERAL_ERR", "the NIC took no more requests", "look at this host's kernel log"),
    1000: ("PORT_DOWN", "its port went down", "are cable and switch well, and is the link up?"),
}
_OPERATIONS = {0: "write", 1: "write with immediate", 5: "fetch-and-add"}


def status_name(failure: _native.NicFailure) -> str:
    """Name of the completion's status, as verbs has it."""
    return _STATUSES.get(failure.status, (f"status {failure.status}", "", ""))[0]


def hint(failure: _native.NicFailure) -> str:
    """What may help."""
    return _STATUSES.get(failure.status, ("", "", "look at the kernel logs of both hosts"))[2]


def described(failure: _native.NicFailure) -> str:
    """One line: NIC, queue pair, operation, status, hint."""
    name, meaning, help_ = _STATUSES.get(
        failure.status, (f"status {failure.status}", "the NIC reported an error", hint(failure))
    )
    operation = _OPERATIONS.get(failure.operation, f"operation {failure.operation}")
    vendor = f", vendor code {failure.vendor:#x}" if failure.vendor else ""
    return (
        f"a {operation} over {failure.nic}, queue pair {failure.queue_pair}, ended with {name} "
        f"({meaning}{vendor}); {help_}"
    )
