"""Names as a scope of the source needs them: which are global, which nonlocal, which are bound."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from types import CodeType

CO_OPTIMIZED, CO_NEWLOCALS = 1, 2


class Names:
    """The names of one code object.

    ``visible`` are the names that enclosing functions bind: a name of the same spelling that the
    code takes from the globals must be declared. ``declared_global``, ``declared_nonlocal`` and
    ``bound`` are filled while the code is read. ``class_name`` is the class around the code,
    for private names. ``inlined``: these are of a comprehension in the code.
    """

    def __init__(
        self,
        code: CodeType,
        visible: frozenset[str] = frozenset(),
        class_name: str = "",
        inlined: bool = False,
    ) -> None:
        self.code = code
        stripped = class_name.lstrip("_")
        self._private = f"_{stripped}__" if stripped else ""
        self.is_function = inlined or bool(code.co_flags & CO_OPTIMIZED)
        self.visible = visible
        self.free = frozenset(code.co_freevars)
        self.declared_global: set[str] = set()
        self.declared_nonlocal: set[str] = set()
        self.bound: set[str] = set()
        self.used: set[str] = set()
        self.captured: set[str] = set()
        self.imported: set[str] = set()
        """Names whose attributes are called as those of modules are: the source imports them."""

    def copy(self) -> Names:
        """Another with the same content."""
        found = copy.copy(self)
        for name in ("declared_global", "declared_nonlocal", "bound", "used", "captured"):
            setattr(found, name, set(getattr(self, name)))
        return found

    def inner_visible(self) -> frozenset[str]:
        """What functions inside see as names of functions around them."""
        mine = frozenset(self.code.co_varnames) | frozenset(self.code.co_cellvars)
        if not self.is_function:
            return self.visible
        return self.visible | mine | self.free

    def attribute(self, name: object) -> str:
        """The name of an attribute as source in the class has it: without the name of the class."""
        found = str(name)
        if self._private and found.startswith(self._private) and not found.endswith("__"):
            return found[len(self._private) - 2 :]
        return found

    def load_global(self, name: str) -> None:
        """A global is read; ``super`` reads the cell ``__class__`` too."""
        if name == "super":
            self.used.add("__class__")
        if name in self.visible or not self.is_function:
            self.declared_global.add(name)

    def store_global(self, name: str) -> None:
        """A global is written."""
        self.declared_global.add(name)

    def store_cell(self, name: str) -> None:
        """A cell is written; one of an enclosing function must be declared."""
        if name in self.free:
            self.declared_nonlocal.add(name)
        else:
            self.bound.add(name)

    def capture(self, code: CodeType) -> None:
        """A function is made that has names from this one."""
        self.captured.update(code.co_freevars)

    def take_in(self, inner: Names) -> None:
        """What a comprehension does whose variables are among those of this code."""
        self.bound |= inner.bound
        self.used |= inner.used
        self.captured |= inner.captured
        self.declared_nonlocal |= inner.declared_nonlocal

    def mentioned(self) -> frozenset[str]:
        """Names that the source reads."""
        return frozenset(self.used | self.captured | self.bound)

    def unbound(self, arguments: Iterable[str]) -> list[str]:
        """Local names that nothing in the source binds, though they are local."""
        mine = [*self.code.co_varnames, *self.code.co_cellvars]
        known = self.bound | set(arguments)
        return [name for name in dict.fromkeys(mine) if name not in known]
