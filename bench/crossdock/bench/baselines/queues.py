"""Queues that one would write otherwise: a deque under a mutex, and Python's SimpleQueue."""

from __future__ import annotations

import queue
import threading
import time

LOCKED = "mutex"
PYTHON = "python"
COMMAND_BYTES = 16
_DEADLINE_S = 60.0


def stream_seconds(commands: int) -> tuple[float, int]:
    """Seconds a command through a SimpleQueue to another thread, and how many came out wrong."""
    line: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    items = [number.to_bytes(COMMAND_BYTES, "little") for number in range(commands)]

    def produce() -> None:
        for item in items:
            line.put(item)

    producer = threading.Thread(target=produce)
    start = time.perf_counter()
    producer.start()
    received = [line.get(timeout=_DEADLINE_S) for _ in range(commands)]
    seconds = time.perf_counter() - start
    producer.join()
    wrong = sum(mine != right for mine, right in zip(received, items, strict=True))
    return seconds / commands, wrong


def latencies(size: int, count: int) -> list[float]:
    """Seconds from a command to its completion: a worker takes it, copies `size` bytes, answers."""
    commands: queue.SimpleQueue[int] = queue.SimpleQueue()
    completions: queue.SimpleQueue[int] = queue.SimpleQueue()
    source, destination = bytes(size), bytearray(size)

    def work() -> None:
        for _ in range(count):
            number = commands.get()
            destination[:] = source
            completions.put(number)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    seconds = []
    for number in range(count):
        start = time.perf_counter()
        commands.put(number)
        completions.get(timeout=_DEADLINE_S)
        seconds.append(time.perf_counter() - start)
    worker.join()
    return seconds
