"""A rank ends when its supervisor is told so, and its status is what it was."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path

from crossdock.decompile.cluster.messages import STOP
from crossdock.decompile.cluster.supervising import supervise
from crossdock.decompile.dynamo.channel import Channel

FOREVER = [sys.executable, "-c", "import time; time.sleep(1000)"]


def test_its_status_and_its_environment(tmp_path: Path) -> None:
    program = "import os, sys; sys.exit(int(os.environ['WANTED']) if os.path.exists('here') else 1)"
    (tmp_path / "here").touch()
    status = supervise([sys.executable, "-c", program], {"WANTED": "7"}, tmp_path, None)
    assert status == 7


def test_it_ends_when_asked_through_the_store(tmp_path: Path) -> None:
    channel = Channel.hosted()
    threading.Timer(0.2, lambda: channel.put(STOP, "")).start()
    assert supervise(FOREVER, {}, tmp_path, channel) == -signal.SIGTERM


def test_it_ends_when_asked_otherwise(tmp_path: Path) -> None:
    until = time.monotonic() + 0.2
    status = supervise(FOREVER, {}, tmp_path, None, lambda: time.monotonic() > until)
    assert status == -signal.SIGTERM


def test_a_store_that_is_gone_does_not_end_it(tmp_path: Path) -> None:
    hosted = Channel.hosted()
    channel = Channel.connected("127.0.0.1", hosted.port)
    del hosted
    program = "import time; time.sleep(1.5)"
    assert supervise([sys.executable, "-c", program], {}, tmp_path, channel) == 0
