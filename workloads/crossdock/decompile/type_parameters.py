"""Type parameters and ``type`` statements (PEP 695).

The compiler puts a function around what has type parameters: it makes them, then what they are
parameters of, and is called at once. Here that call gives the function or class with them.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from types import CodeType
from typing import Any, ClassVar

from crossdock.decompile import marks
from crossdock.decompile.errors import Unstructured
from crossdock.decompile.instructions import Instruction
from crossdock.decompile.machine import MachineBase
from crossdock.decompile.marks import Function, GenericBase, TypeAlias, TypeParameter

_KINDS = {"TYPEVAR": "TypeVar", "PARAMSPEC": "ParamSpec", "TYPEVARTUPLE": "TypeVarTuple"}
_HIDDEN = frozenset({".generic_base", "__classdict__", "__type_params__", "__classdictcell__"})
PARAMETERS = ".type_params"
"""The variable with the parameters of a class, which its body has from the function around it."""
KNOWN = hasattr(ast, "TypeVar")
"""Whether this Python has any."""
_ANY = "_parameter"


class TypeParameters(MachineBase):
    """``given`` are the arguments of the function, by their names; ``parameters`` those it made for
    a class; ``express`` makes an expression of a function without a name."""

    operations: ClassVar[dict[str, str]] = {
        **dict.fromkeys(_KINDS, "op_type_parameter"),
        **dict.fromkeys(("TYPEVAR_WITH_BOUND", "TYPEVAR_WITH_CONSTRAINTS"), "op_bound_parameter"),
        **dict.fromkeys(
            ("LOAD_FROM_DICT_OR_GLOBALS", "LOAD_FROM_DICT_OR_DEREF"), "op_load_of_class"
        ),
    }
    given: Mapping[str, ast.expr]
    parameters: list[ast.expr]
    express: Callable[[Function], ast.expr]

    def op_type_parameter(self, instruction: Instruction) -> None:
        """A parameter of any type."""
        self.push(TypeParameter(_KINDS[instruction.op], self._parameter_name()))

    def op_bound_parameter(self, _: Instruction) -> None:
        """A parameter of some types."""
        bound = self._lazy()
        self.push(TypeParameter("TypeVar", self._parameter_name(), bound=bound))

    def op_set_typeparam_default(self, _: Instruction) -> None:
        """A default of a parameter."""
        default, parameter = self._lazy(), self.pop()
        if not isinstance(parameter, TypeParameter):
            raise Unstructured(f"{self.flow.code.co_name}: a default of no type parameter")
        parameter.default = default
        self.push(parameter)

    def op_set_function_type_params(self, _: Instruction) -> None:
        """The parameters of a function."""
        parameters, made = self.pop(), self.pop()
        if not isinstance(made, Function) or not isinstance(parameters, ast.Tuple):
            raise Unstructured(f"{self.flow.code.co_name}: type parameters of no function")
        made.type_parameters = parameters.elts
        self.push(made)

    def op_subscript_generic(self, _: Instruction) -> None:
        """The base that a class with parameters has."""
        self.pop()
        self.push(GenericBase())

    def op_typealias(self, _: Instruction) -> None:
        """An alias: name, parameters and a function that gives the type."""
        parts = self.pop()
        if not isinstance(parts, ast.Tuple) or len(parts.elts) != 3:
            raise Unstructured(f"{self.flow.code.co_name}: an alias of no type")
        name, parameters, made = parts.elts
        if not isinstance(name, ast.Constant) or not isinstance(made, Function):
            raise Unstructured(f"{self.flow.code.co_name}: an alias of no type")
        listed = parameters.elts if isinstance(parameters, ast.Tuple) else []
        self.push(TypeAlias(str(name.value), listed, self._lazy_body(made)))

    def op_load_locals(self, _: Instruction) -> None:
        """The names of a class, for what looks there before elsewhere."""
        self.push(marks.ClassNames())

    def op_load_of_class(self, instruction: Instruction) -> None:
        """A name of the class around, else of what is around that."""
        self.pop()
        self.op_load(instruction)

    def op_load(self, instruction: Instruction) -> None:
        """A variable, or one that only the compiler has."""
        name = str(instruction.value)
        if name in self.given:
            self.push(self.given[name])
        elif name == PARAMETERS or name in _HIDDEN:
            self.push(GenericBase() if name == ".generic_base" else marks.ClassNames())
        else:
            super().op_load(instruction)  # type: ignore[misc]

    def op_store(self, instruction: Instruction) -> None:
        """A variable, or one that only the compiler has."""
        name, value = str(instruction.value), self.stack[-1] if self.stack else None
        if name == PARAMETERS and isinstance(value, ast.Tuple):
            self.parameters = value.elts
            self.stack.pop()
        elif name in _HIDDEN and isinstance(value, marks.Mark | marks.Closure):
            self.stack.pop()
        else:
            super().op_store(instruction)  # type: ignore[misc]

    def _parameter_name(self) -> str:
        name = self.pop()
        if not isinstance(name, ast.Constant) or not isinstance(name.value, str):
            raise Unstructured(f"{self.flow.code.co_name}: a type parameter without a name")
        return name.value

    def _lazy(self) -> ast.expr:
        made = self.pop()
        if not isinstance(made, Function):
            raise Unstructured(f"{self.flow.code.co_name}: a type parameter of no function")
        return self._lazy_body(made)

    def _lazy_body(self, made: Function) -> ast.expr:
        found = self.express(made)
        return found.body if isinstance(found, ast.Lambda) else found


def node(kind: str, **fields: Any) -> Any:
    """A node of the tree that older versions do not have."""
    return vars(ast)[kind](**fields)


def written(parameters: list[ast.expr]) -> list[Any]:
    """The nodes of parameters, which were stored as they were made."""
    found = []
    for one in parameters:
        made = one.value if isinstance(one, ast.NamedExpr) else one
        if not isinstance(made, TypeParameter):
            raise Unstructured("a type parameter that is none")
        fields: dict[str, Any] = {"name": made.name}
        if made.kind == "TypeVar":
            fields["bound"] = made.bound
        if made.default is not None:
            fields["default_value"] = made.default
        found.append(node(made.kind, **fields))
    return found


def given(made: ast.ClassDef, names: Iterable[str]) -> ast.ClassDef:
    """The class with parameters of any types."""
    made.type_params = [node("TypeVar", name=one, bound=None) for one in names]  # type: ignore[attr-defined]
    return made


def of_class(made: ast.ClassDef, code: CodeType) -> ast.ClassDef:
    """The class of a body, with those parameters that the body has something of; it does not say
    which others there are."""
    if PARAMETERS not in code.co_freevars:
        return made
    hidden = {"__class__", "__classdict__", PARAMETERS}
    return given(made, [one for one in code.co_freevars if one not in hidden] or [_ANY])


def alias(made: TypeAlias) -> ast.stmt:
    """The statement."""
    found: ast.stmt = node(
        "TypeAlias",
        name=ast.Name(made.name, ast.Store()),
        type_params=written(made.parameters),
        value=made.value,
    )
    return found
