"""From torch's events to the index of a dump."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch._logging import structured

from crossdock.decompile.dynamo import breaks, guards
from crossdock.decompile.dynamo.callers import callers
from crossdock.decompile.dynamo.index import Artifact, Compile, Index, Kind, Line, Mapped, Standing
from crossdock.decompile.dynamo.store import Store, as_python, commented
from crossdock.decompile.dynamo.trace import Event

FAULTS_MAX = 100
SAVE_SECONDS_MIN = 1.0
"""Between two versions of the index while compilations go on."""
_BEGINS = frozenset({"recompile_reasons", "dynamo_start"})
GRAPHS: dict[str, Kind] = {
    "dynamo_output_graph": "dynamo_graph",
    "aot_joint_graph": "joint_graph",
    "aot_forward_graph": "forward_graph",
    "aot_backward_graph": "backward_graph",
    "aot_inference_graph": "inference_graph",
    "inductor_post_grad_graph": "post_grad_graph",
}
_SECONDS = {
    "total": "entire_frame_compile_time_s",
    "backend": "backend_compile_time_s",
    "inductor": "inductor_compile_time_s",
    "code generation": "code_gen_time_s",
    "before restart": "dynamo_time_before_restart_s",
}
_RESUME = "torch_dynamo_resume_in_"
_OBSERVED = frozenset({"dynamo_start", "compilation_metrics"})
Observer = Callable[[str, bool], None]
"""Takes a compilation, and whether it has ended."""


class Recorder:
    """Keeps the index of one dump. Safe in threads; its lock is held for no call out of it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.index = Index()
        self._lock = threading.RLock()
        self._compiles: dict[str, Compile] = {}
        self._current: dict[str, str] = {}
        self._entered: set[tuple[str, str, str | None]] = set()
        self._saved = 0.0
        self._inductor: dict[str, str | None] = {}
        self._observers: list[Observer] = []
        self._handlers: dict[str, Callable[[str, Event], None]] = {
            "dynamo_start": self._started,
            "recompile_reasons": self._recompiled,
            "dynamo_cpp_guards_str": self._guarded,
            "compilation_metrics": self._ended,
            "bwd_compilation_metrics": self._backward_ended,
        }

    def receive(self, event: Event) -> bool:
        """Take an event in; gives whether it ends a compilation."""
        if event.compile_id is not None:
            fresh = event.kind in _BEGINS and self._is_started(event.compile_id)
            event = replace(event, compile_id=self.key(event.compile_id, fresh=fresh))
        if event.kind == "dynamo_graph_break_reason":
            self._broke(event)
        elif event.kind == "inductor_output_code":
            path = event.fields.get("file_path") or event.fields.get("filename")
            if path:
                with self._lock:
                    self._inductor[str(path)] = event.compile_id
        elif event.compile_id is not None:
            handler = self._handlers.get(event.kind)
            if handler is not None:
                handler(event.compile_id, event)
            elif event.kind in GRAPHS:
                self._graph(event.compile_id, GRAPHS[event.kind], event.payload)
            if event.kind in _OBSERVED:
                for observer in self._observers:
                    observer(event.compile_id, event.kind == "compilation_metrics")
        return event.kind.endswith("compilation_metrics")

    def observe(self, observer: Observer) -> None:
        """Let it know, in the thread that compiles, when a compilation begins and when it ends."""
        self._observers.append(observer)

    def add(
        self,
        kind: Kind,
        stem: str,
        text: str,
        *,
        compile_id: str | None,
        digest_of: str | None = None,
        user: Line | None = None,
        standing: Standing = "text",
        note: str = "",
        links: list[str] | None = None,
        runs_from: str | None = None,
        lines: list[Mapped] | None = None,
    ) -> tuple[Artifact, Path]:
        """Write a file of the dump and enter it."""
        path, mark = self.store.write(stem, text, digest_of)
        artifact = Artifact(
            kind=kind,
            file=path.name,
            digest=mark,
            compile_id=compile_id,
            user=user or self.user(compile_id),
            standing=standing,
            note=note,
            links=links or [],
            runs_from=runs_from,
            lines=lines or [],
        )
        known = (kind, path.name, compile_id)
        with self._lock:
            if known not in self._entered:
                self._entered.add(known)
                self.index.artifacts.append(artifact)
        return artifact, path

    def key(self, compile_id: str, *, fresh: bool = False) -> str:
        """The name of a compilation in the index.

        Torch counts from nought again after ``torch._dynamo.reset()``; what it calls ``0/0`` then
        is ``0/0~1`` here. ``fresh`` says that such a one begins.
        """
        with self._lock:
            known = self._current.setdefault(compile_id, compile_id)
            if fresh:
                turn = int(known.rpartition("~")[2]) if "~" in known else 0
                known = self._current[compile_id] = f"{compile_id}~{turn + 1}"
            return known

    def forget(self, files: set[str]) -> None:
        """Strike files out of the index."""
        with self._lock:
            self.index.artifacts = [one for one in self.index.artifacts if one.file not in files]
            self._entered = {known for known in self._entered if known[1] not in files}

    def fault(self, what: str) -> None:
        """Note what the dump failed at."""
        with self._lock:
            if len(self.index.faults) < FAULTS_MAX and what not in self.index.faults:
                self.index.faults.append(what)

    def save(self, *, soon: bool = False) -> None:
        """Write the index as it is now; ``soon``: only if the last time is a while ago."""
        with self._lock:
            now = time.monotonic()
            if not soon or now - self._saved >= SAVE_SECONDS_MIN:
                self.index.save(self.store.folder)
                self._saved = now

    def user(self, compile_id: str | None) -> Line | None:
        """Where the function of a compilation begins."""
        with self._lock:
            found = self._compiles.get(compile_id or "")
            return found.user if found is not None and found.user.file else None

    def files(self, compile_id: str | None, kind: Kind) -> list[str]:
        """The files of one kind of a compilation."""
        with self._lock:
            return [
                one.file
                for one in self.index.artifacts
                if one.kind == kind and one.compile_id == compile_id
            ]

    def inductor_files(self) -> dict[str, str | None]:
        """Files that Inductor has written, and the compilations it wrote them for."""
        with self._lock:
            return dict(self._inductor)

    def add_seconds(self, compile_id: str | None, name: str, seconds: float) -> None:
        """Add to a time of a compilation."""
        if compile_id is not None:
            with self._lock:
                times = self._compile(compile_id).seconds
                times[name] = times.get(name, 0.0) + seconds

    def _is_started(self, compile_id: str) -> bool:
        with self._lock:
            found = self._compiles.get(self._current.get(compile_id, compile_id))
            return found is not None and bool(found.user.file)

    def _compile(self, compile_id: str) -> Compile:
        """The compilation, entered if it is new."""
        found = self._compiles.get(compile_id)
        if found is None:
            found = Compile(compile_id=compile_id, user=Line(file="", line=0))
            self._compiles[compile_id] = found
            self.index.compiles.append(found)
        return found

    def _started(self, compile_id: str, event: Event) -> None:
        frames = event.fields.get("stack") or [{}]
        name = str(frames[-1].get("name", ""))
        user = Line(
            file=_file(frames[-1].get("filename")),
            line=int(frames[-1].get("line", 0)),
            function=name,
        )
        called_from = callers()
        with self._lock:
            compile_ = self._compile(compile_id)
            compile_.user = user
            compile_.called_from = called_from
            compile_.thread = threading.current_thread().name
            if name.startswith(_RESUME):
                compile_.resumes = name.removeprefix(_RESUME).rpartition("_at_")[0]

    def _recompiled(self, compile_id: str, event: Event) -> None:
        failed = breaks.failed_guards(event.decoded())
        with self._lock:
            self._compile(compile_id).recompiled_because = failed

    def _broke(self, event: Event) -> None:
        found = breaks.graph_break(event.compile_id, event.payload)
        with self._lock:
            if found not in self.index.breaks:
                self.index.breaks.append(found)

    def _guarded(self, compile_id: str, event: Event) -> None:
        found = guards.read(event.payload)
        with self._lock:
            compile_ = self._compile(compile_id)
            compile_.guards = found
            compile_.attempts = max(compile_.attempts, event.attempt + 1)
            user = compile_.user
        title = f"Guards of {user.function}, {user.file}:{user.line}."
        text = as_python(guards.as_function(found, title))
        self.add("guards", f"guards_for_{user.function}", text, compile_id=compile_id)

    def _graph(self, compile_id: str, kind: Kind, payload: str) -> None:
        user = self.user(compile_id)
        name = user.function if user is not None else "code"
        body = as_python(payload.replace("class <lambda>(", "class GraphModule("))
        title = f"{kind.replace('_', ' ').capitalize()} of {name}, to read."
        text = commented(title) + body
        self.add(kind, f"{kind}_for_{name}", text, compile_id=compile_id, digest_of=body)

    def _ended(self, compile_id: str, event: Event) -> None:
        fields = event.fields
        with self._lock:
            compile_ = self._compile(compile_id)
            compile_.seconds.update(_seconds(fields))
            compile_.attempts = max(compile_.attempts, event.attempt + 1)
            compile_.nodes = fields.get("graph_node_count")
            if fields.get("fail_reason"):
                compile_.failed = f"{fields.get('fail_type')}: {fields['fail_reason']}"
            compile_.skipped = not fields.get("has_guarded_code", True)

    def _backward_ended(self, compile_id: str, event: Event) -> None:
        total = _seconds(event.fields).get("total") or (event.fields.get("duration_us") or 0) / 1e6
        self.add_seconds(compile_id, "backward", total)


def _seconds(fields: Mapping[str, Any]) -> dict[str, float]:
    told = {name: fields.get(field) for name, field in _SECONDS.items()}
    return {name: float(value) for name, value in told.items() if value is not None}


def _file(number: object) -> str:
    """The name of a file that torch has given a number; traces hold the number."""
    if isinstance(number, str):
        return number
    table = getattr(structured, "INTERN_TABLE", {})
    return next((name for name, one in list(table.items()) if one == number), "")
