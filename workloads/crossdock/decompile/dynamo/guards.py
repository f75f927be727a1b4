"""The guards of a compilation, from the tree that Dynamo prints, as a function one can call."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator, Sequence

from crossdock.decompile.dynamo import guard_names
from crossdock.decompile.dynamo.index import Guard
from crossdock.decompile.dynamo.store import commented

_LEAF = re.compile(r"^[| ]*\+- (?P<kind>[A-Z][A-Z0-9_]*): (?P<rest>.*)$")
_TYPE = re.compile(r", type=<[^>]*>(?=\s*(?:#|$))")
"""Behind an expression, for the reader."""
_GLOBAL_STATE = re.compile(r"___check_global_state\(\) against (?P<state>\{.*\})\s*$")


def read(tree: str) -> list[Guard]:
    """The leaves of the printed tree, in the order in which they are checked."""
    found = (_LEAF.match(line) for line in tree.splitlines())
    leaves = (_guard(leaf["kind"], leaf["rest"]) for leaf in found if leaf is not None)
    return list(dict.fromkeys(leaves))


def as_function(guards: Sequence[Guard], title: str) -> str:
    """A Python file with ``guard(L, G)``: whether the compiled code fits these locals and globals.

    What cannot be said in Python stands in it as comments, and is not checked.
    """
    clauses: list[str] = []
    unsaid: list[str] = []
    names: set[str] = set()
    for guard in guards:
        used = _free_names(guard.code)
        if used is None or not all(guard_names.resolves(name) for name in used):
            unsaid.append(f"{guard.kind}: {guard.code}")
            continue
        names |= {name for name in used if not hasattr(builtins, name)}
        comment = f"  # {guard.source}" if guard.source else ""
        clauses.append(f"({guard.code}){comment}")
    parts = [f'"""{_docstring(title)}"""\n']
    if names:
        imported = "".join(f"    {name},\n" for name in sorted(names))
        parts.append(f"from crossdock.decompile.dynamo.guard_names import (\n{imported})\n")
    parts.append("".join(_function(clauses)))
    if unsaid:
        parts.append("# Checked by Dynamo, but not here, for want of Python words:\n")
        parts.append(commented("\n".join(unsaid)))
    return "\n".join(parts)


def _function(clauses: Sequence[str]) -> Iterator[str]:
    yield "\ndef guard(L, G=None):\n"
    if not clauses:
        yield "    return True\n"
        return
    yield "    return bool(\n"
    for number, clause in enumerate(clauses):
        yield f"        {'and ' if number else ''}{clause}\n"
    yield "    )\n"


def _guard(kind: str, rest: str) -> Guard:
    state = _GLOBAL_STATE.match(rest)
    if state is not None:
        return Guard(kind=kind, code=f"check_global_state({state['state']!r})")
    code, source = _expression_and_comment(rest)
    return Guard(kind=kind, code=code, source=" ".join(source.split()))


def _expression_and_comment(text: str) -> tuple[str, str]:
    """The expression before the comment; a ``#`` may also stand within a string."""
    text = _TYPE.sub("", text, count=1)
    ends = [found.start() for found in re.finditer(r"\s+#", text)] + [len(text)]
    for end in ends:
        try:
            tree = ast.parse(text[:end].strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        return ast.unparse(_Plain().visit(tree)), text[end:].strip().removeprefix("#")
    return text[: ends[0]].strip(), text[ends[0] :].strip().removeprefix("#")


class _Plain(ast.NodeTransformer):
    """Names that exist in no module, such as those of dispatch keys, become strings."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.func, ast.Name):
            return node
        if node.func.id == "DispatchKeySet":
            return ast.Constant(", ".join(ast.unparse(key) for key in node.args))
        if node.func.id == "check_tensor" and len(node.args) > 1:
            node.args[1] = ast.Constant(ast.unparse(node.args[1]))
        return node


def _free_names(code: str) -> set[str] | None:
    """Names that the expression takes from outside; None if it is no expression."""
    try:
        tree = ast.parse(code, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    bound = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    return names - bound - {"L", "G"}


def _docstring(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', "'").replace("\0", "")
