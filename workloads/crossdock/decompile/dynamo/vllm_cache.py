"""vLLM's compile cache, as files to read.

Below ``torch_compile_cache/<hash>/rank_<i>_<j>/<model part>/`` lie a graph, the factors of its
hash, a table of the compiled pieces, and each piece as a pickle that holds Inductor's source.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from crossdock.decompile.dynamo import overview, page
from crossdock.decompile.dynamo.errors import DumpUnreadable
from crossdock.decompile.dynamo.index import Compile, Index, Kind, Line
from crossdock.decompile.dynamo.pickled_text import texts
from crossdock.decompile.dynamo.recording import Recorder
from crossdock.decompile.dynamo.store import Store, as_python, commented

TABLE = "vllm_compile_cache.py"
GRAPH = "computation_graph.py"
FACTORS = "cache_key_factors.json"
INDUCTOR = "inductor_cache"
PIECE_BYTES_MAX = 2**31

_RANGE = re.compile(r"Range\(start=(\d+), end=(\d+)\)")


def dump_compile_cache(
    cache_dir: str | os.PathLike[str], dump_src_dir: str | os.PathLike[str]
) -> Index:
    """Write what a compile cache of vLLM holds as Python files, with index and overview.

    Nothing of the cache is executed or unpickled. What cannot be read is among ``faults``.

    Args:
        cache_dir: ``torch_compile_cache`` or any folder below it.
        dump_src_dir: folder to write into.

    Raises:
        DumpUnreadable: no part of a compile cache lies in ``cache_dir``.
        DumpRefused: ``dump_src_dir`` is a file, or its ``index.json`` is of something else.
    """
    root = Path(cache_dir).absolute()
    parts = sorted({path.parent for name in (TABLE, GRAPH, FACTORS) for path in root.rglob(name)})
    generated = sorted(path for path in root.rglob("*.py") if INDUCTOR in path.parts)
    if not parts and not generated:
        raise DumpUnreadable(
            f"{root} holds no {TABLE}, {GRAPH} or {INDUCTOR}; give the torch_compile_cache of vLLM"
        )
    recorder = Recorder(Store(Path(dump_src_dir)))
    for part in parts:
        _dump_part(recorder, part, str(part.relative_to(root)))
    for path in generated:
        _dump_text(recorder, path.read_text(encoding="utf-8", errors="replace"), None, path)
    recorder.save()
    store = recorder.store
    store.page(overview.FILE, overview.text(recorder.index, store.folder))
    written = page.html(recorder.index, store.folder)
    if written is not None:
        store.page(page.FILE, written)
    return recorder.index


def _dump_part(recorder: Recorder, part: Path, name: str) -> None:
    graph = part / GRAPH
    factors = part / FACTORS
    recorder.index.compiles.append(
        Compile(compile_id=name, user=Line(file=str(graph), line=1, function=part.name))
    )
    head = ""
    if factors.is_file():
        head = "What its hash is made of:\n" + factors.read_text("utf-8", errors="replace")
    if graph.is_file():
        body = as_python(graph.read_text("utf-8", errors="replace"))
        text = commented(head) + body
        recorder.add(
            "compile_cache", f"graph_of_{part.name}", text, compile_id=name, digest_of=body
        )
    elif head:
        recorder.add("compile_cache", f"factors_of_{part.name}", commented(head), compile_id=name)
    for label, piece in _pieces(recorder, part):
        key = f"{name}/{label}"
        recorder.index.compiles.append(
            Compile(compile_id=key, user=Line(file=str(piece), line=1, function=label))
        )
        _dump_piece(recorder, piece, key)


def _pieces(recorder: Recorder, part: Path) -> Iterator[tuple[str, Path]]:
    """The files of the table, and what they are for."""
    table = part / TABLE
    if not table.is_file():
        return
    try:
        entries = ast.literal_eval(_RANGE.sub(r"(\1, \2)", table.read_text("utf-8")))
        for (sizes, number, compiler), value in dict(entries).items():
            handle = _handle(value)
            if handle is None or Path(handle).name != handle:
                recorder.fault(f"{table} names no file of its folder for graph {number}")
                continue
            first, last = sizes if isinstance(sizes, tuple) else (sizes, sizes)
            yield f"graph_{int(number)}_sizes_{first}_{last}_{compiler}", part / handle
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        recorder.fault(f"{table} is no table of vLLM's: {error}")


def _handle(value: Any) -> str | None:
    handle = value.get("graph_handle") if isinstance(value, Mapping) else value
    name = handle[0] if isinstance(handle, tuple | list) and handle else handle
    return name if isinstance(name, str) else None


def _dump_piece(recorder: Recorder, piece: Path, key: str) -> None:
    files = [piece] if piece.is_file() else sorted(piece.rglob("*")) if piece.is_dir() else []
    found = 0
    for path in files:
        if path.is_file() and path.stat().st_size <= PIECE_BYTES_MAX:
            if path.suffix == ".py":
                source = path.read_text("utf-8", errors="replace")
                found += _dump_text(recorder, source, key, path)
            else:
                for text in dict.fromkeys(texts(path.read_bytes())):
                    found += _dump_text(recorder, text, key, path)
    if not found:
        recorder.fault(f"{piece} holds no source that could be read")


def _dump_text(recorder: Recorder, text: str, key: str | None, origin: Path) -> bool:
    """Write a text if it is a program or a graph; gives whether it was one."""
    kind = _kind(text)
    if kind is None:
        return False
    body = as_python(text.replace("class <lambda>(", "class GraphModule("))
    recorder.add(
        kind,
        "inductor_code" if kind == "inductor" else kind,
        body,
        compile_id=key,
        user=Line(file=str(origin), line=1),
        runs_from=str(origin) if origin.suffix == ".py" else None,
    )
    return True


def _kind(text: str) -> Kind | None:
    if "\ndef call(" in text or "    def call(" in text:
        return "inductor"
    if re.match(r"\s*class [\w<>]+\(torch\.nn\.Module\):", text):
        return "post_grad_graph"
    return "kernel" if "async_compile" in text or "@triton.jit" in text else None
