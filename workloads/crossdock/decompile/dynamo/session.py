"""One dump while it is on: listens to torch, writes, and links what runs to what was written."""

from __future__ import annotations

import gc
import logging
import os
import time
import traceback
import weakref
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

from torch._dynamo import resume_execution
from torch._dynamo.convert_frame import register_bytecode_hook
from torch._guards import CompileContext

from crossdock.decompile.dynamo import graph_code, inductor, overview, page, torch_contract
from crossdock.decompile.dynamo.index import Line
from crossdock.decompile.dynamo.recording import Recorder
from crossdock.decompile.dynamo.registry import concerns
from crossdock.decompile.dynamo.store import Store, as_python
from crossdock.decompile.dynamo.trace import Event, Listener
from crossdock.decompile.dynamo.translation import linked, translate

_log = logging.getLogger(__name__)


class Session:
    """The dump of one process into one folder.

    Nothing that goes wrong here reaches the program: it is logged, and kept in the index.
    """

    def __init__(self, folder: Path) -> None:
        self.recorder = Recorder(Store(folder))
        self.folder = self.recorder.store.folder
        self.pid = os.getpid()
        self._listener = Listener(self._receive, self._failed)
        self._functions: dict[Path, list[weakref.ref[FunctionType]]] = {}
        self._resumed: dict[int, tuple[CodeType, str]] = {}
        self._modules: weakref.WeakSet[ModuleType] = weakref.WeakSet()
        self.recorder.save()

    def start(self) -> None:
        """Begin to listen; what was compiled before belongs to no dump."""
        torch_contract.warn()
        for what in torch_contract.missing():
            self.recorder.fault(what)
        self._modules.update(inductor.loaded())
        self._hook = register_bytecode_hook(self._on_bytecode)
        self._listener.start()
        graph_code.start(self._write_graph_code, self._keep_function)

    def stop(self, *, clean: bool) -> None:
        """End it and write all that sums the dump up.

        Args:
            clean: whether the code of graphs that are gone is taken out again.
        """
        graph_code.stop(self._write_graph_code, self._keep_function)
        self._listener.stop()
        self._hook.remove()
        for step in (self._collect_inductor, *((self._clean,) if clean else ()), self._sum_up):
            try:
                step()
            except Exception as error:  # noqa: BLE001 - the program goes on without its dump
                self._failed(error)

    def _concerned(self) -> bool:
        """Whether what happens in this thread belongs to this dump; a forked child has none."""
        return os.getpid() == self.pid and concerns(self)

    def _failed(self, error: BaseException) -> None:
        text = "".join(traceback.format_exception(error)[-3:]).strip()
        self.recorder.fault(text)
        _log.warning("The dump in %s misses something: %s", self.folder, text)

    def _receive(self, event: Event) -> None:
        if not self._concerned():
            return
        if self.recorder.receive(event):
            self._collect_inductor()
            self.recorder.save(soon=True)

    def _on_bytecode(self, code: CodeType, new_code: CodeType) -> CodeType | None:
        if not self._concerned():
            return None
        try:
            return self._dump_bytecode(code, new_code)
        except Exception as error:  # noqa: BLE001 - the compiled code runs without its dump
            self._failed(error)
            return None

    def _compile_id(self) -> str | None:
        current = CompileContext.current_compile_id()
        return None if current is None else self.recorder.key(str(current))

    def _dump_bytecode(self, code: CodeType, new_code: CodeType) -> CodeType | None:
        began = time.perf_counter()
        compile_id = self._compile_id()
        resumed = [self._dump_resume(one, compile_id) for one in _resume_codes(code)]
        translation = translate(new_code, by_dynamo=True)
        text = as_python(translation.text(f"Transformed bytecode of {_described(code)}."))
        artifact, path = self.recorder.add(
            "transformed",
            f"transformed_code_for_{code.co_name}",
            text,
            compile_id=compile_id,
            digest_of=translation.source,
            user=_line(code),
            standing=translation.standing,
            note=translation.note,
            links=[*self.recorder.files(compile_id, "dynamo_graph"), *resumed],
            lines=translation.lines(text),
        )
        replacement = None
        if translation.standing == "proved":
            made = linked(translation.code, text, path, translation.constants)
            replacement = made.replace(co_qualname=new_code.co_qualname)
            if not _fits(replacement, code):
                replacement, artifact.standing = None, "text"
                artifact.note = "another order of variables than Dynamo wants"
        self.recorder.add_seconds(compile_id, "decompiling", time.perf_counter() - began)
        return replacement

    def _dump_resume(self, code: CodeType, compile_id: str | None) -> str:
        """Write a resume function as Dynamo has made it; what runs of it is compiled later."""
        known = self._resumed.get(id(code))
        if known is None:
            translation = translate(code)
            text = as_python(translation.text(f"Resume function {_described(code)}."))
            artifact, _ = self.recorder.add(
                "resume",
                f"resume_{code.co_name}",
                text,
                compile_id=compile_id,
                digest_of=translation.source,
                user=_line(code),
                standing="text" if translation.standing == "proved" else translation.standing,
                note=translation.note,
                runs_from=code.co_filename,
                lines=translation.lines(text),
            )
            # Kept with its code, so that no other code can take its place in memory.
            known = self._resumed[id(code)] = (code, artifact.file)
        return known[1]

    def _write_graph_code(self, source: str) -> Path | None:
        if not self._concerned():
            return None
        try:
            _, path = self.recorder.add(
                "graph_code",
                "graph_code",
                source,
                compile_id=self._compile_id(),
                standing="runs",
            )
        except Exception as error:  # noqa: BLE001 - the graph is compiled without its file
            self._failed(error)
            return None
        return path

    def _keep_function(self, path: Path, function: weakref.ref[FunctionType]) -> None:
        self._functions.setdefault(path, []).append(function)

    def _collect_inductor(self) -> None:
        """Copy and link the modules that Inductor has loaded since the last time."""
        written_for = self.recorder.inductor_files()
        for module in inductor.loaded():
            if module in self._modules:
                continue
            self._modules.add(module)
            own = str(module.__file__)
            source = Path(own).read_text(encoding="utf-8")
            is_output = own in written_for
            artifact, path = self.recorder.add(
                "inductor" if is_output else "kernel",
                "inductor_code" if is_output else "kernel",
                source,
                compile_id=written_for.get(own),
                standing="runs",
            )
            if not inductor.relocate(module, path):
                artifact.runs_from = own

    def _clean(self) -> None:
        """Take the code of graphs out that nothing can call any more."""
        gc.collect()
        gone = {
            path
            for path, functions in self._functions.items()
            if all(function() is None for function in functions)
        }
        self.recorder.forget({path.name for path in gone})
        for path in gone:
            self._functions.pop(path)
            self.recorder.store.remove(path)

    def _sum_up(self) -> None:
        self.recorder.save()
        self.recorder.store.page(overview.FILE, overview.text(self.recorder.index, self.folder))
        written = page.html(self.recorder.index, self.folder)
        if written is not None:
            self.recorder.store.page(page.FILE, written)


def _resume_codes(code: CodeType) -> list[CodeType]:
    """The functions that Dynamo has made for what follows the graph breaks of ``code``."""
    cache = getattr(getattr(resume_execution, "ContinueExecutionCache", None), "cache", None)
    made = cache.get(code) if cache is not None else None
    return [one for one in list((made or {}).values()) if isinstance(one, CodeType)]


def _fits(made: CodeType, code: CodeType) -> bool:
    """Whether Dynamo accepts the code in the place of the other."""
    count = made.co_argcount + made.co_kwonlyargcount
    return (
        made.co_freevars == code.co_freevars
        and made.co_cellvars == code.co_cellvars
        and made.co_varnames[:count] == code.co_varnames[:count]
    )


def _line(code: CodeType) -> Line:
    return Line(file=code.co_filename, line=code.co_firstlineno, function=code.co_name)


def _described(code: CodeType) -> str:
    return f"{code.co_qualname}, {code.co_filename}:{code.co_firstlineno}"
