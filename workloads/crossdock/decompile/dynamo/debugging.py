"""The calls that users of depyf know: ``prepare_debug``, ``debug``, ``install``, ``uninstall``."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any, cast

import torch
from torch._dynamo import convert_frame

from crossdock.decompile.dynamo import overview, registry
from crossdock.decompile.dynamo.errors import NotPrepared
from crossdock.decompile.dynamo.session import Session
from crossdock.decompile.dynamo.translation import translate
from crossdock.proxy.errors import ArgumentError

_lock = threading.Lock()
_source_hook: Any = None


@contextlib.contextmanager
def prepare_debug(
    dump_src_dir: str | os.PathLike[str],
    clean_wild_fx_code: bool = True,
    log_bytecode: bool = False,
) -> Iterator[Path]:
    """Dump what is compiled meanwhile, as files that the compiled code then runs from.

    Gives the folder. It may be nested, entered again with the same folder, and used in several
    threads: a thread that has entered it writes into its own folders only. Ranks of a job
    (``RANK``, ``WORLD_SIZE``) get a folder each below it.

    Args:
        dump_src_dir: folder to dump into; made where it is missing.
        clean_wild_fx_code: take the code of graphs out again that torch made only in between.
        log_bytecode: log the source of transformed bytecode too, as ``install`` does.

    Raises:
        ArgumentError: ``dump_src_dir`` is no path.
        DumpRefused: it is a file, or its ``index.json`` is of something else.
    """
    if not isinstance(dump_src_dir, str | os.PathLike) or not os.fspath(dump_src_dir):
        raise ArgumentError(f"dump_src_dir is {dump_src_dir!r}; give the path of a folder")
    with (
        dumped(Path(dump_src_dir).absolute(), clean=clean_wild_fx_code) as session,
        _source_logged() if log_bytecode else contextlib.nullcontext(),
    ):
        yield session.folder


@contextlib.contextmanager
def dumped(folder: Path, *, clean: bool = True) -> Iterator[Session]:
    """What ``prepare_debug`` does, for those who want to see what is dumped while it goes on.

    Args:
        folder: absolute; of all ranks of a job.
        clean: take the code of graphs out again that torch made only in between.

    Raises:
        DumpRefused: as of ``prepare_debug``.
    """
    entry = registry.enter(folder, Session)
    try:
        yield cast(Session, entry[0])
    finally:
        registry.leave(entry, clean=clean)


@contextlib.contextmanager
def debug(pause: bool = True) -> Iterator[None]:
    """Run what has been compiled, and compile nothing new, so that a debugger stays in the dump.

    Args:
        pause: stop in the debugger first (``breakpoint()``), to set breakpoints in dumped files.

    Raises:
        NotPrepared: nothing has been dumped, or ``prepare_debug`` is still on.
    """
    if registry.any_on():
        raise NotPrepared("debug is for after prepare_debug; leave that first")
    folder = registry.latest()
    if folder is None:
        raise NotPrepared("nothing has been dumped in this process; run it in prepare_debug first")
    with torch.compiler.set_stance("eager_on_recompile"):
        if pause:
            logging.getLogger(__name__).warning(
                "Paused to set breakpoints; %s gives the files.", folder / overview.FILE
            )
            breakpoint()
        yield


def install() -> None:
    """Show the source of transformed bytecode beside it in torch's log (``TORCH_LOGS=bytecode``).

    Idempotent.
    """
    global _source_hook
    with _lock:
        if _source_hook is None:
            _source_hook = convert_frame.register_bytecode_hook(_log_source)


def uninstall() -> None:
    """Undo ``install``. Idempotent."""
    global _source_hook
    with _lock:
        if _source_hook is not None:
            _source_hook.remove()
            _source_hook = None


@contextlib.contextmanager
def _source_logged() -> Iterator[None]:
    """Log whatever torch's own settings are."""
    handle = convert_frame.register_bytecode_hook(_log_source_always)
    try:
        yield
    finally:
        handle.remove()


def _log_source(code: CodeType, new_code: CodeType) -> None:
    """Follows torch's own record of the bytecode, in the same log and under the same switch."""
    log = convert_frame.bytecode_log
    if log.isEnabledFor(logging.DEBUG):
        log.debug("%s", _source_text(code, new_code))


def _log_source_always(code: CodeType, new_code: CodeType) -> None:
    logging.getLogger(__name__).warning("%s", _source_text(code, new_code))


def _source_text(code: CodeType, new_code: CodeType) -> str:
    try:
        translation = translate(new_code, by_dynamo=True)
        return translation.text(
            f"SOURCE OF MODIFIED BYTECODE {code.co_name} "
            f"{code.co_filename} line {code.co_firstlineno}"
        )
    except Exception as error:  # noqa: BLE001 - the compilation goes on without its log
        return f"The bytecode of {code.co_name} has no source: {error}"
