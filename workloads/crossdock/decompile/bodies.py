"""Source of code objects: functions, lambdas, classes, comprehensions, and their bodies."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from types import CodeType

from crossdock.decompile import annotating, inversion, late, signatures, type_parameters
from crossdock.decompile.calls import CO_COROUTINE
from crossdock.decompile.cases import restored
from crossdock.decompile.comprehensions import comprehension
from crossdock.decompile.dispatch import Dispatch
from crossdock.decompile.errors import DecompileError, Unstructured
from crossdock.decompile.flow import Flow
from crossdock.decompile.graph import Graph
from crossdock.decompile.inlining import Outlined
from crossdock.decompile.loops import Loops
from crossdock.decompile.lowering import ATTRIBUTES, FIRST_LINE
from crossdock.decompile.marks import Function, GenericBase, Iteration, TypeAlias
from crossdock.decompile.matching import matched
from crossdock.decompile.names import Names
from crossdock.decompile.protected import Protected
from crossdock.decompile.qualified import qualified_name
from crossdock.decompile.spilling import SpillingMachine, Variables
from crossdock.decompile.structure import Context
from crossdock.decompile.symbolic import Execution, Machine
from crossdock.decompile.versions import table as versions
from crossdock.decompile.work import Work

CO_GENERATOR, CO_ASYNC_GENERATOR = 32, 512
DEPTH_MAX = 40
"""Of code objects in code objects."""

_PROLOGUE = ("__module__", "__qualname__")
_EPILOGUE = ("__classcell__", ATTRIBUTES)


class Structure(Loops, Protected):
    """All statements with bodies."""


@dataclass(kw_only=True)
class Plan:
    """``joined`` and ``loops`` are the ids of code objects whose ends must be joined, and whose
    bodies must be dispatch loops; ``looped`` are those that became loops, ``reasons`` says why."""

    joined: frozenset[int] = frozenset()
    loops: frozenset[int] = frozenset()
    looped: set[int] = field(default_factory=set)
    reasons: list[str] = field(default_factory=list)


class Body:
    """The statements of one code object. ``class_name`` is the class around it, for names that
    begin with two underscores."""

    def __init__(
        self,
        code: CodeType,
        visible: frozenset[str],
        plan: Plan,
        class_name: str = "",
        depth: int = 0,
        part: Outlined | None = None,
    ) -> None:
        if depth > DEPTH_MAX:
            raise DecompileError(f"{code.co_name}: more than {DEPTH_MAX} functions in each other")
        self.code = code
        self.plan = plan
        self.class_name = class_name
        self.depth = depth
        self.part = part
        self.names = Names(code, visible, class_name, inlined=part is not None)
        self.flow = Flow(code, part, apart=True)
        self.given: dict[str, ast.expr] = {}

    def statements(self) -> list[ast.stmt]:
        """As recovered: marks of comprehensions and classes are still there."""
        if id(self.code) in self.plan.joined:
            return self._recovered(True)
        names = self.names
        try:
            self.names = names.copy()
            return self._recovered(False)
        except Unstructured:
            self.names = names
            return self._recovered(True)

    def _recovered(self, joins_all: bool) -> list[ast.stmt]:
        flow = Flow(self.code, self.part, apart=True)
        late.take_together(flow)
        graph = Graph(matched(flow), joins_all)
        execution = Execution(graph, self.names)
        machine = execution.machine
        self._prepare(machine)
        works = execution.run()
        self.parameters = machine.parameters
        tidy(execution)
        machine.expect_settled()
        structure = Structure(works, execution.start, graph)
        last = _falls_off(structure.works)
        return restored(structure.sequence(execution.start, Context(last)))

    def _prepare(self, machine: Machine) -> None:
        machine.define, machine.express = self._define, self._express
        machine.classify, machine.comprehension = self._classify, self._comprehension
        machine.outlined, machine.generic = self._outlined, self._generic
        machine.given, machine.parameters = self.given, []

    def _function_statements(self) -> list[ast.stmt]:
        """Structured if possible, else a dispatch loop."""
        reason = "its structured source is not proved to be the same"
        if id(self.code) not in self.plan.loops:
            try:
                return self.statements()
            except Unstructured as error:
                reason = str(error)
        imported = self.names.imported
        self.names = Names(self.code, self.names.visible, self.class_name)
        self.names.imported = imported
        machine = SpillingMachine(self.flow, self.names, Variables(self.names))
        self._prepare(machine)
        found = Dispatch(self.flow, machine).statements()
        self.plan.looped.add(id(self.code))
        self.plan.reasons.append(f"{qualified_name(self.code)}: {reason}")
        return found

    def function(self) -> list[ast.stmt]:
        """With docstring, declarations, and what makes names local."""
        body = self._function_statements()
        while body and _returns_none(body[-1]):
            body.pop()
        text = signatures.docstring(self.code)
        first: list[ast.stmt] = [] if text is None else [ast.Expr(ast.Constant(text))]
        first += self._declarations(signatures.arguments(self.code))
        return [*first, *body] or [ast.Pass()]

    def module(self) -> list[ast.stmt]:
        """Of code that is no function."""
        body = self.statements()
        while body and _returns_none(body[-1]):
            body.pop()
        body = self._annotated(body)
        text = [body.pop(0)] if body and _is_text(body[0]) else []
        return [*text, *self._declarations(()), *body]

    def class_body(self) -> list[ast.stmt]:
        """Without what every class begins and ends with."""
        body = self.statements()
        for name in _PROLOGUE:
            if not body or not _assigns(body[0], name):
                raise Unstructured(f"{self.code.co_name}: a class that does not begin as one")
            body.pop(0)
        if body and _assigns(body[0], FIRST_LINE):
            body.pop(0)
        if body and isinstance(body[-1], ast.Return):
            body.pop()
            for name in _EPILOGUE:
                if body and _assigns(body[-1], name):
                    body.pop()
        return [*self._declarations(()), *self._annotated(body)] or [ast.Pass()]

    def _with_annotations(self, body: list[ast.stmt]) -> list[ast.stmt]:
        """With what a function computes of annotations, where one does."""
        body = [one for one in body if not _assigns(one, late.MET)]
        for one in body:
            made = one.value if isinstance(one, ast.Assign) else None
            if isinstance(made, Function):  # all others are definitions
                inner = self._inner(made.code, self.class_name)
                notes = annotating.of_body(inner.statements())
                self._inherit(inner)
                return annotating.placed([other for other in body if other is not one], notes)
        return body

    def _annotated(self, body: list[ast.stmt]) -> list[ast.stmt]:
        """With a docstring, and with annotations; those of what is no plain name leave nothing but
        their dictionary."""
        found = self._with_annotations(body)
        if found and _assigns(found[0], "__doc__") and _is_text(found[0]):
            found[0] = ast.Expr(found[0].value)  # type: ignore[attr-defined]
        if signatures.has_texts(self.code):
            found = annotating.with_texts(found)
        found = [signatures.annotation(one) or one for one in found]
        wanted = any(one.op == "SETUP_ANNOTATIONS" for one in self.flow.instructions)
        if versions.running().defers_annotations:
            return [*found, *annotating.nameless(found, self.code, wanted)]
        if wanted and not any(isinstance(one, ast.AnnAssign) for one in found):
            note = ast.AnnAssign(ast.Name("_", ast.Store()), ast.Constant(None), None, 1)
            found.append(ast.If(ast.Constant(False), [note], []))
        return found

    def _declarations(self, arguments: tuple[str, ...]) -> list[ast.stmt]:
        names, found = self.names, list[ast.stmt]()
        if names.declared_global:
            found.append(ast.Global(sorted(names.declared_global)))
        if names.declared_nonlocal:
            found.append(ast.Nonlocal(sorted(names.declared_nonlocal)))
        if not names.is_function:
            return found
        hidden: list[ast.stmt] = []
        for name in names.unbound(arguments):
            hidden.append(ast.Assign([ast.Name(name, ast.Store())], ast.Constant(None)))
        unused = names.free - names.declared_nonlocal - names.mentioned()
        hidden += [ast.Expr(ast.Name(name, ast.Load())) for name in sorted(unused)]
        cells = set(self.code.co_cellvars) - names.captured
        hidden += [ast.Expr(signatures.capturing(name)) for name in sorted(cells)]
        if self.code.co_flags & (CO_GENERATOR | CO_ASYNC_GENERATOR) and not self._yields():
            hidden.append(ast.Expr(ast.Yield(None)))
        if hidden:
            found.append(ast.If(ast.Constant(False), hidden, []))
        return found

    def _yields(self) -> bool:
        """Whether anything there makes it a generator; awaiting makes none."""
        asynchronous = self.code.co_flags & CO_ASYNC_GENERATOR
        ops = {"YIELD_VALUE"} if asynchronous else {"YIELD_VALUE", "YIELD_FROM"}
        return any(
            shape is not None and one.op in ops
            for one, shape in zip(self.flow.instructions, self.flow.shapes, strict=True)
        )

    def _inner(self, code: CodeType, class_name: str) -> Body:
        self.names.capture(code)
        visible = self.names.inner_visible()
        inner = Body(code, visible, self.plan, class_name, self.depth + 1)
        inner.names.imported = self.names.imported
        return inner

    def definition(self, made: Function) -> ast.stmt:
        """The whole function."""
        body = self.function()
        asynchronous = self.code.co_flags & (CO_COROUTINE | CO_ASYNC_GENERATOR)
        kind = ast.AsyncFunctionDef if asynchronous else ast.FunctionDef
        given = signatures.signature(made)
        found = kind(self.code.co_name, given, body, [], made.annotations.get("return"))
        return _with_parameters(found, made.type_parameters)

    def _define(self, made: Function, name: str) -> ast.stmt:
        code = made.code
        written = code.co_name
        if name != written and name != signatures.mangled(written, self.class_name):
            raise Unstructured(f"{self.code.co_name}: function {written} is bound to {name}")
        if made.annotate is not None:
            inner = self._inner(made.annotate.code, self.class_name)
            made.annotations = annotating.of_function(inner.statements(), inner.code)
            self._inherit(inner)
        return self._inner(code, self.class_name).definition(made)

    def _express(self, made: Function) -> ast.expr:
        inner = self._inner(made.code, self.class_name)
        value = only_value(inner.statements(), made.code)
        self._inherit(inner)
        return ast.Lambda(signatures.signature(made), value)

    def _classify(self, body: Function, call: ast.Call, name: str) -> ast.stmt:
        written = body.code.co_name
        if name != written and name != signatures.mangled(written, self.class_name):
            raise Unstructured(f"{self.code.co_name}: class {written} is bound to {name}")
        inside = self._inner(body.code, written).class_body()
        bases = [one for one in call.args[2:] if not isinstance(one, GenericBase)]
        found = ast.ClassDef(written, bases, call.keywords, inside, [])
        return _with_parameters(found, body.type_parameters)

    def _generic(self, made: Function, arguments: list[ast.expr]) -> ast.expr:
        """The function, the call that makes a class, or the alias, that has type parameters."""
        inner = self._inner(made.code, self.class_name)
        found = inner.generic(arguments)
        self._inherit(inner)
        return found

    def generic_statement(self, arguments: list[ast.expr]) -> ast.stmt:
        """The statement of what has type parameters."""
        value = self.generic(arguments)
        if isinstance(value, TypeAlias):
            return type_parameters.alias(value)
        if isinstance(value, Function):
            return self._define(value, value.code.co_name)
        body = value.args[0]  # type: ignore[attr-defined]
        return self._classify(body, value, body.code.co_name)  # type: ignore[arg-type]

    def generic(self, arguments: list[ast.expr]) -> ast.expr:
        """The same, of this code; `arguments` are defaults, by position and by name."""
        self.given = dict(zip(signatures.arguments(self.code), arguments, strict=False))
        body = self.statements()
        value = body[0].value if len(body) == 1 and isinstance(body[0], ast.Return) else None
        if isinstance(value, ast.Call) and isinstance(value.args[0], Function):
            value.args[0].type_parameters = self.parameters
        if not isinstance(value, Function | TypeAlias | ast.Call):
            raise Unstructured(f"{self.code.co_name}: type parameters of nothing")
        return value

    def _comprehension(self, made: Function, iterated: Iteration) -> ast.expr:
        inner = self._inner(made.code, self.class_name)
        awaits = bool(made.code.co_flags & CO_COROUTINE)
        found = comprehension(made.code.co_name, inner.statements(), iterated, awaits)
        self._inherit(inner)
        return found

    def _outlined(self, part: Outlined, iterated: Iteration) -> ast.expr:
        """A comprehension whose variables are among those of the code around it."""
        visible = self.names.inner_visible()
        inner = Body(self.code, visible, self.plan, self.class_name, self.depth + 1, part)
        inner.names.imported = self.names.imported
        found = comprehension(part.name, inner.statements(), iterated, False)
        self._inherit(inner)
        self.names.take_in(inner.names)
        return found

    def _inherit(self, inner: Body) -> None:
        """An expression cannot declare: the function around it does."""
        self.names.declared_global |= inner.names.declared_global
        for name in inner.names.declared_nonlocal:
            self.names.store_cell(name)


def _with_parameters(made: ast.stmt, parameters: list[ast.expr]) -> ast.stmt:
    if parameters:
        made.type_params = type_parameters.written(parameters)  # type: ignore[attr-defined]
    return made


def tidy(execution: Execution) -> None:
    """Put conditions together, after each loop has just one test."""
    inversion.merge_tests(execution)
    for number in reversed(list(execution.works.all)):
        work = execution.works.all.get(number)
        while work is not None and execution.conditions.combine(work):
            pass


def _falls_off(works: dict[int, Work]) -> int:
    """The block that returns None, which is the end of the source."""
    for number, work in works.items():
        if work.kind == "end" and len(work.statements) == 1 and _returns_none(work.statements[0]):
            return number
    return -(1 << 61)


def _returns_none(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.Return):
        return False
    value = statement.value
    return value is None or (isinstance(value, ast.Constant) and value.value is None)


def only_value(body: list[ast.stmt], code: CodeType) -> ast.expr:
    """What a lambda returns: branches that return are conditional expressions."""
    found = _value(body)
    if found is None:
        raise Unstructured(f"{code.co_name}: a lambda with statements")
    return found


def _value(body: list[ast.stmt]) -> ast.expr | None:
    if not body:
        return ast.Constant(None)
    first, rest = body[0], body[1:]
    if isinstance(first, ast.Return) and first.value is not None:
        return first.value
    if isinstance(first, ast.If):
        yes, no = _value(first.body), _value(first.orelse or rest)
        if yes is not None and no is not None:
            return ast.IfExp(first.test, yes, no)
    return None


def _is_text(statement: ast.stmt) -> bool:
    """Whether a statement is about a constant string."""
    value = getattr(statement, "value", None)
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _assigns(statement: ast.stmt, name: str) -> bool:
    if not isinstance(statement, ast.Assign):
        return False
    names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
    return name in names


__all__ = ["Body", "only_value"]
