"""Annotations find their statements."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.decompile import Unstructured, annotating, marks


def note(name: str, number: object = None) -> marks.Annotation:
    """An annotation whose text is its name."""
    return marks.Annotation(ast.Name(name, ast.Store()), ast.Constant(name), number)


def body(text: str) -> list[ast.stmt]:
    """Statements; ``met(1)`` is the place of the annotation with that number."""
    found = ast.parse(text)
    for one in ast.walk(found):
        call = one.value if isinstance(one, ast.Expr) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "met":
            one.value = marks.Met(call.args[0].value)  # type: ignore[attr-defined]
    return found.body


def placed(text: str, *notes: marks.Annotation) -> str:
    """The statements with annotations, as text of one line."""
    found = ast.fix_missing_locations(ast.Module(annotating.placed(body(text), [*notes]), []))
    return ast.unparse(found).replace("\n", "; ")


def test_an_annotation_stands_with_its_value() -> None:
    assert placed("f(); a = 1; a.b = 2", note("a")) == "f(); a: 'a' = 1; a.b = 2"


def test_those_without_a_value_stand_after_the_one_before() -> None:
    text = "__doc__ = 'text'; b = 1; f()"
    notes = [note("a"), note("b"), note("c")]
    assert placed(text, *notes) == "__doc__ = 'text'; a: 'a'; b: 'b' = 1; c: 'c'; f()"
    assert placed("", note("a")) == "a: 'a'"


def test_one_under_a_condition_stands_where_it_is_met() -> None:
    text = "if x:\n  a = 1\n  met(0)\nelse:\n  met(1)\nfor i in x:\n  def f():\n    a = 1\n  met(2)"
    found = placed(text, note("a", 0), note("b"), note("b", 1), note("a", 2))
    assert "if x:;     a: 'a' = 1; else:;     b: 'b'; b: 'b'; for" in found
    assert found.endswith("a = 1;     a: 'a'"), "the assignment in a function is another's"


def test_branches_are_in_the_order_of_numbers() -> None:
    found = placed("if x:\n  met(1)\nelse:\n  met(0)", note("a", 0), note("b", 1))
    assert found == "if not x:;     a: 'a'; else:;     b: 'b'"


def test_one_that_is_never_met_is_under_what_never_holds() -> None:
    assert placed("f()", note("a", 0)) == "f(); if False:;     a: 'a'"


@given(st.permutations("abcd"), st.lists(st.sampled_from("abcd")))
def test_the_order_stays(names: list[str], assigned: list[str]) -> None:
    text = "; ".join(f"{name} = {at}" for at, name in enumerate(assigned))
    found = annotating.placed(body(text), [note(name) for name in names])
    annotated = [one for one in found if isinstance(one, ast.AnnAssign)]
    assert [one.target.id for one in annotated] == names  # type: ignore[union-attr]
    values = [one.value for one in found if getattr(one, "value", None) is not None]  # type: ignore[attr-defined]
    assert [one.value for one in values] == list(range(len(assigned)))


def test_texts_are_parsed_where_the_code_stores_them() -> None:
    text = "a = 1; __annotations__['a'] = 'x | None'\nif a:\n  __annotations__['b'] = \"'x'\""
    found = ast.Module(annotating.with_texts(body(text)), [])
    assert ast.unparse(ast.fix_missing_locations(found)) == "a: x | None = 1\nif a:\n    b: 'x'"
    other = body("def f():\n    __annotations__['a'] = 'b'")
    assert ast.dump(annotating.with_texts(other)[0]) == ast.dump(other[0]), "not of this body"
    assert "__annotations__" in ast.unparse(other[0])
    with pytest.raises(Unstructured, match="no expression: 'x y'"):
        annotating.with_texts(body("__annotations__['a'] = 'x y'"))


def test_only_annotations_and_a_return_are_read() -> None:
    end = ast.Return(marks.Result())
    assert [one.name.id for one in annotating.of_body([note("a"), end])] == ["a"]
    for strange in ([note("a")], [ast.Pass(), end], []):
        with pytest.raises(Unstructured):
            annotating.of_body([*strange])
    with pytest.raises(Unstructured, match="no dictionary"):
        annotating.of_function([end], test_the_order_stays.__code__)
