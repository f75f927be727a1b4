"""Starts vLLM's server on the loopback interface, asks it, and sees to it that it ends."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import TypeVar

from tests.serving.engines.tiny_model import TOKENS

_T = TypeVar("_T")
ROOT = pathlib.Path(__file__).parents[3]
_START_S = 300.0
_ANSWER_S = 60.0
FLAGS = (
    "--served-model-name tiny --host 127.0.0.1 --data-parallel-address 127.0.0.1 "
    "--data-parallel-size 2 --enable-expert-parallel --skip-tokenizer-init --enforce-eager "
    "--dtype float32 --max-model-len 128 --max-num-seqs 64 --max-num-batched-tokens 512 "
    "--no-enable-prefix-caching"
)
"""Of two ranks that split experts."""


def environment(**more: str) -> dict[str, str]:
    """Of an engine that needs no network, and leaves cores to others."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        **more,
    }


@dataclasses.dataclass
class Server:
    """A server that is up."""

    port: int
    log: pathlib.Path

    def ask(self, prompt: list[int], tokens: int = TOKENS) -> list[int]:
        """The tokens that follow a prompt."""
        question = {
            "model": "tiny",
            "prompt": prompt,
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "return_token_ids": True,
        }
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/completions",
            json.dumps(question).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=_ANSWER_S) as answer:
            found: list[int] = json.load(answer)["choices"][0]["token_ids"]
        return found

    def metrics(self) -> str:
        """What Prometheus would be told."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    def worker(self, rank: int) -> int:
        """Process of the worker of a rank."""
        found = re.search(rf"Worker_DP{rank}_EP{rank} pid=(\d+)", self.log.read_text())
        assert found is not None, self.log.read_text()
        return int(found[1])

    def heard(self, text: str, seconds: float) -> str | None:
        """The first line of the log that holds ``text``, when it comes in time."""
        return _until(lambda: _line_with(text, self.log), seconds)


@contextlib.contextmanager
def served(model: pathlib.Path, folder: pathlib.Path) -> Iterator[Server]:
    """A server with two data-parallel ranks and experts split over them, through crossdock."""
    variables = {"CROSSDOCK_VLLM_EP": "1", "CROSSDOCK_DUMP_DIR": str(folder)}
    with serving(model, folder, FLAGS.split(), variables) as server:
        yield server


@contextlib.contextmanager
def serving(
    model: pathlib.Path, folder: pathlib.Path, flags: list[str], variables: dict[str, str]
) -> Iterator[Server]:
    """A server with these flags and variables."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Server(port, folder / "server.log")
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    with server.log.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port), *flags],
            env=environment(**variables),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        up = _until(lambda: _healthy(port) or process.poll() is not None, _START_S)
        running = process.poll() is None
        assert running, server.log.read_text()[-8000:]
        assert up, server.log.read_text()[-8000:]
        yield server
    finally:
        _end(process)


def ended(pid: int, seconds: float) -> bool:
    """Whether a process ends in time."""
    return bool(_until(lambda: not pathlib.Path(f"/proc/{pid}").exists(), seconds))


def _end(process: subprocess.Popen[bytes]) -> None:
    """All processes of its session: those of vLLM outlive their parent now and then."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(15)


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _line_with(text: str, log: pathlib.Path) -> str | None:
    return next(
        (line for line in log.read_text(errors="replace").split("\n") if text in line), None
    )


def _until(found: Callable[[], _T | None], seconds: float) -> _T | None:
    end = time.monotonic() + seconds
    while not (result := found()) and time.monotonic() < end:
        time.sleep(0.1)
    return result
