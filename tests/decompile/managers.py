"""What the programs use."""

# mypy: ignore-errors

from __future__ import annotations

import asyncio


class Manager:
    """A context that logs, and may swallow what is raised in it."""

    def __init__(self, log, name, swallows=False):
        self.log, self.name, self.swallows = log, name, swallows

    def __enter__(self):
        self.log.append(f"enter {self.name}")
        return self.name

    def __exit__(self, kind, value, trace):
        self.log.append(f"exit {self.name} {kind and kind.__name__}")
        return self.swallows

    async def __aenter__(self):
        return self.__enter__()

    async def __aexit__(self, kind, value, trace):
        return self.__exit__(kind, value, trace)


def say(log, value):
    """Log when a value is computed."""
    log.append(value)
    return value


async def ticks(count):
    """An asynchronous generator."""
    for i in range(count):
        await asyncio.sleep(0)
        yield i
