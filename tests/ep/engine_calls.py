"""Finds in the source of an engine what it uses of DeepEP: names, calls with their keywords, and
attributes of objects. Only the source is read; nothing of the engine is imported.

What an expression is follows from imports, annotations, assignments, and what our own functions
return. An expression that cannot be followed is taken for something else, so that tests must say
which calls have to be found.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

MODULE = "deep_ep"


@dataclasses.dataclass(frozen=True)
class Kind:
    """One of our classes, or an object of it."""

    name: str
    is_class: bool = False


@dataclasses.dataclass(frozen=True)
class Use:
    """A name of the module, an attribute, or a call, in the source of an engine."""

    path: str
    line: int
    owner: str
    """The class; "" for the module itself."""
    name: str
    is_call: bool = False
    num_positional: int = 0
    keywords: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    """Keywords that are passed in some cases only."""
    is_partial: bool = False
    """Whether there are arguments that cannot be followed."""

    def __str__(self) -> str:
        return f"{Path(self.path).stem}-{self.owner or MODULE}.{self.name}"


Scope = tuple[str, dict[str, Kind], ast.AST]
"""The class that one is in, the local names, the function."""


class _Dict(typing.NamedTuple):
    keywords: set[str]
    is_partial: bool


class ModuleReader:
    """Reads one module."""

    def __init__(self, source: str, path: str, surface: Mapping[str, object]) -> None:
        self._tree = ast.parse(source)
        self._path = path
        self._surface = surface
        self._names: dict[str, Kind] = {}
        self._attributes: dict[tuple[str, str], Kind] = {}
        self._returns: dict[tuple[str, str, int], Kind] = {}
        self._lengths: dict[tuple[str, str], int] = {}
        self._functions: dict[tuple[str, str], ast.FunctionDef] = {}
        self._classes = {n.name for n in ast.walk(self._tree) if isinstance(n, ast.ClassDef)}
        self._uses: set[Use] = set()

    def uses(self) -> list[Use]:
        """All uses, in the order of lines."""
        # What a method returns may be known only when another has been read.
        while True:
            before = (len(self._names), len(self._attributes), len(self._returns))
            self._uses.clear()
            self._read(self._tree, ("", {}, self._tree))
            if before == (len(self._names), len(self._attributes), len(self._returns)):
                return sorted(self._uses, key=lambda use: (use.line, use.name, use.owner))

    # ---- statements -------------------------------------------------------------------------

    def _read(self, node: ast.AST, scope: Scope) -> None:
        if isinstance(node, ast.ClassDef):
            scope = (node.name, {}, node)
        elif isinstance(node, ast.FunctionDef):
            scope = self._enter(node, scope)
        elif isinstance(node, ast.For) and isinstance(node.iter, ast.Tuple):
            kinds = [self._kind(item, scope) for item in node.iter.elts]
            self._bind(node.target, next(filter(None, kinds), None), scope)
        for child in ast.iter_child_nodes(node):
            self._read(child, scope)
        self._learn(node, scope)

    def _enter(self, node: ast.FunctionDef, scope: Scope) -> Scope:
        outer_class, outer, _ = scope
        self._functions[outer_class, node.name] = node
        local = dict(outer)
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        for argument in arguments:
            kind = self._annotated(argument.annotation)
            if kind is not None:
                local[argument.arg] = kind
        returned = self._annotated(node.returns)
        if returned is not None:
            self._returned(outer_class, node.name, [returned])
        return outer_class, local, node

    def _learn(self, node: ast.AST, scope: Scope) -> None:
        if isinstance(node, ast.ImportFrom) and node.module == MODULE:
            self._import(node)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                self._assign(target, node.value, scope)
        elif isinstance(node, ast.AnnAssign):
            self._bind(node.target, self._annotated(node.annotation), scope)
        elif isinstance(node, ast.Return) and node.value is not None:
            self._return(node.value, scope)
        elif isinstance(node, ast.Attribute):
            self._attribute(node, scope)
        elif isinstance(node, ast.Call):
            self._call(node, scope)

    def _import(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self._use(node, "", alias.name)
            if isinstance(self._surface.get(alias.name), type):
                self._names[alias.asname or alias.name] = Kind(alias.name, is_class=True)

    def _return(self, value: ast.expr, scope: Scope) -> None:
        if isinstance(scope[2], ast.FunctionDef):
            parts = value.elts if isinstance(value, ast.Tuple) else [value]
            kinds = [self._kind(part, scope) for part in parts]
            self._returned(scope[0], scope[2].name, kinds)

    def _returned(self, owner: str, name: str, kinds: list[Kind | None]) -> None:
        """Of a function, one entry for each element of a tuple. The first to say so is believed."""
        if any(kinds) and self._lengths.setdefault((owner, name), len(kinds)) == len(kinds):
            for index, kind in enumerate(kinds):
                if kind is not None:
                    self._returns.setdefault((owner, name, index), kind)

    def _assign(self, target: ast.expr, value: ast.expr, scope: Scope) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Call):
            kinds = self._results(value, scope)
            if len(kinds) == len(target.elts):
                for item, kind in zip(target.elts, kinds, strict=True):
                    self._bind(item, kind, scope)
        else:
            self._bind(target, self._kind(value, scope), scope)

    def _bind(self, target: ast.expr, kind: Kind | None, scope: Scope) -> None:
        if kind is None:
            return
        if isinstance(target, ast.Name):
            (scope[1] if isinstance(scope[2], ast.FunctionDef) else self._names)[target.id] = kind
        elif isinstance(target, ast.Attribute):
            self._attributes[self._owner(target.value, scope), target.attr] = kind
        elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Attribute):
            key = (self._owner(target.value.value, scope), f"{target.value.attr}[]")
            self._attributes[key] = kind

    # ---- expressions ------------------------------------------------------------------------

    def _kind(self, node: ast.expr, scope: Scope) -> Kind | None:
        if isinstance(node, ast.Name):
            return scope[1].get(node.id) or self._names.get(node.id)
        if isinstance(node, ast.Attribute):
            if self._is_module(node.value):
                known = isinstance(self._surface.get(node.attr), type)
                return Kind(node.attr, is_class=True) if known else None
            return self._attributes.get((self._owner(node.value, scope), node.attr))
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute):
            owner = self._owner(node.value.value, scope)
            return self._attributes.get((owner, f"{node.value.attr}[]"))
        if isinstance(node, ast.Call):
            results = self._results(node, scope)
            return results[0] if len(results) == 1 else None
        if isinstance(node, ast.BoolOp | ast.IfExp):
            parts = node.values if isinstance(node, ast.BoolOp) else [node.body, node.orelse]
            return next(filter(None, (self._kind(part, scope) for part in parts)), None)
        return None

    def _results(self, node: ast.Call, scope: Scope) -> list[Kind | None]:
        """What the call returns, one entry for each element of a tuple."""
        of = self._kind(node.func, scope)
        if of is not None and of.is_class:
            return [Kind(of.name)]
        if isinstance(node.func, ast.Attribute):
            of = self._kind(node.func.value, scope)
            if of is not None:
                return results_of(self._surface, of.name, node.func.attr)
            return self._results_here(self._owner(node.func.value, scope), node.func.attr)
        if isinstance(node.func, ast.Name):
            return self._results_here("", node.func.id)
        return [None]

    def _results_here(self, owner: str, name: str) -> list[Kind | None]:
        """What a function of this module returns."""
        length = self._lengths.get((owner, name), 1)
        return [self._returns.get((owner, name, index)) for index in range(length)]

    def _owner(self, node: ast.expr, scope: Scope) -> str:
        text = ast.unparse(node)
        return scope[0] if text in {"self", "cls"} else text

    def _annotated(self, node: ast.expr | None) -> Kind | None:
        """The class that an annotation names, be it optional or in quotes."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = ast.parse(node.value, mode="eval").body
        if node is None or (isinstance(node, ast.Subscript) and "Optional" not in ast.dump(node)):
            return None
        for part in ast.walk(node):
            if isinstance(part, ast.Name | ast.Attribute):
                kind = self._kind(part, ("", {}, self._tree))
                if kind is not None and kind.is_class:
                    return Kind(kind.name)
        return None

    def _is_module(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id == MODULE

    # ---- uses -------------------------------------------------------------------------------

    def _use(self, node: ast.AST, owner: str, name: str, **more: typing.Any) -> None:
        self._uses.add(Use(self._path, getattr(node, "lineno", 0), owner, name, **more))

    def _attribute(self, node: ast.Attribute, scope: Scope) -> None:
        if self._is_module(node.value):
            self._use(node, "", node.attr)
            return
        of = self._kind(node.value, scope)
        if of is not None and isinstance(node.ctx, ast.Load):
            self._use(node, of.name, node.attr)

    def _call(self, node: ast.Call, scope: Scope) -> None:
        of = self._kind(node.func, scope)
        if of is not None and of.is_class:
            self._record(node, of.name, "__init__", node.args, node.keywords, scope)
        elif isinstance(node.func, ast.Attribute):
            of = self._kind(node.func.value, scope)
            if of is not None:
                # As an attribute it has been seen already.
                self._uses.discard(Use(self._path, node.func.lineno, of.name, node.func.attr))
                self._record(node, of.name, node.func.attr, node.args, node.keywords, scope)
                return
        elif isinstance(node.func, ast.Name) and node.func.id == "hasattr":
            what, name = node.args
            if self._is_module(what) and isinstance(name, ast.Constant):
                self._use(node, "", str(name.value))
        # A class that is handed to a cache, with a dict of what it is to be built with.
        for argument in node.args:
            of = self._kind(argument, scope)
            others = [other for other in node.args if other is not argument]
            if of is not None and of.is_class and others:
                passed = [ast.keyword(arg=None, value=other) for other in others]
                self._record(node, of.name, "__init__", [], passed, scope)

    def _record(
        self,
        node: ast.Call,
        owner: str,
        name: str,
        positional: list[ast.expr],
        keywords: list[ast.keyword],
        scope: Scope,
    ) -> None:
        partial = any(isinstance(argument, ast.Starred) for argument in positional)
        optional: set[str] = set()
        for keyword in keywords:
            if keyword.arg is None:
                found = self._keywords(keyword.value, scope)
                optional |= found.keywords
                partial |= found.is_partial
        self._use(
            node,
            owner,
            name,
            is_call=True,
            num_positional=len(positional),
            keywords=tuple(keyword.arg for keyword in keywords if keyword.arg is not None),
            optional=tuple(sorted(optional)),
            is_partial=partial,
        )

    def _keywords(self, node: ast.expr, scope: Scope) -> _Dict:
        """The keys of an expression that is a dict, in whichever case."""
        found: list[_Dict] = []
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "dict"
        ):
            named = {keyword.arg for keyword in node.keywords if keyword.arg is not None}
            return _Dict(named, bool(node.args) or len(named) < len(node.keywords))
        if isinstance(node, ast.Dict):
            keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
            return _Dict({str(key) for key in keys}, len(keys) < len(node.keys))
        if isinstance(node, ast.IfExp):
            found = [self._keywords(part, scope) for part in (node.body, node.orelse)]
        elif isinstance(node, ast.Name):
            found = list(self._assigned(node.id, scope))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            function = self._functions.get((self._owner(node.func.value, scope), node.func.attr))
            if function is not None:
                inner: Scope = (scope[0], {}, function)
                returns = [part for part in ast.walk(function) if isinstance(part, ast.Return)]
                found = [self._keywords(part.value, inner) for part in returns if part.value]
        if not found:
            return _Dict(set(), is_partial=True)
        together: set[str] = set().union(*(one.keywords for one in found))
        return _Dict(together, any(one.is_partial for one in found))

    def _assigned(self, name: str, scope: Scope) -> Iterator[_Dict]:
        for part in ast.walk(scope[2]):
            if not isinstance(part, ast.Assign):
                continue
            for target in part.targets:
                if isinstance(target, ast.Name) and target.id == name:
                    yield self._keywords(part.value, scope)
                elif isinstance(target, ast.Subscript) and ast.unparse(target.value) == name:
                    is_known = isinstance(target.slice, ast.Constant)
                    keys = (
                        {str(target.slice.value)}
                        if isinstance(target.slice, ast.Constant)
                        else set()
                    )
                    yield _Dict(keys, not is_known)


def results_of(surface: Mapping[str, object], owner: str, method: str) -> list[Kind | None]:
    """What a method of ours returns, one entry for each element of a tuple."""
    function = getattr(surface[owner], method, None)
    if function is None:
        return [None]
    returned = typing.get_type_hints(inspect.unwrap(function)).get("return")
    parts = typing.get_args(returned) if typing.get_origin(returned) is tuple else (returned,)
    return [_kind_of_type(surface, part) for part in parts]


def _kind_of_type(surface: Mapping[str, object], part: object) -> Kind | None:
    options = typing.get_args(part) if isinstance(part, types.UnionType) else (part,)
    for option in options:
        for name, value in surface.items():
            if isinstance(value, type) and value is option:
                return Kind(name)
    return None


def read_package(folder: Path, surface: Mapping[str, object]) -> list[Use]:
    """What the modules of a package use of DeepEP."""
    found: list[Use] = []
    for name, source in _modules(folder):
        found += ModuleReader(source, name, surface).uses()
    return found


def not_followed(folder: Path, uses: list[Use], names: Collection[str]) -> set[tuple[str, str]]:
    """Where the same modules use attributes of these names of what ``uses`` does not know: the
    name of the module and the expression.
    """
    known = {(use.path, use.line, use.name) for use in uses}
    return {
        (Path(name).stem, ast.unparse(node))
        for name, source in _modules(folder)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and node.attr in names
        if not {(name, line, node.attr) for line in (node.lineno, node.end_lineno)} & known
    }


def _modules(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and source of those that mention DeepEP."""
    for path in sorted(folder.rglob("*.py")):
        source = path.read_text(errors="replace")
        if MODULE in source:
            yield str(path.relative_to(folder.parent)), source
