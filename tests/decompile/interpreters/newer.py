"""Programs in the syntax of newer versions, in files of their own or as text.

Older versions cannot read it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import FunctionType
from typing import Any

OF_312 = """
def comprehensions_at_all_places(log, x):
    y = z = x
    first = [y for y in range(x)], [z for z in range(x)]
    [log.append(z) for z in range(x)]
    a, b = [y for y in (1, 2)]
    y = [y + z for y in range(x) for z in range(y) if z]
    made = {y: lambda: y + x for y in range(x)}
    nested = [[i * j for j in range(i)] for i in range(x)]
    try:
        bad = [1 // i for i in range(x)]
    except ZeroDivisionError:
        bad = [x for i in range(3)]
    class Inner:
        of_class = [i + x for i in range(x)]
    return first, a, b, y, [one() for one in made.values()], nested, bad, Inner.of_class, z

def slices(log, x):
    a = list(range(9))
    a[x:] = a[:2]
    a[1:x] += [5]
    return a, a[x:], a[:x], a[1:x:2]

def supers(log, x):
    class Base:
        def get(self, n):
            return n + x
        value = 7
    class Derived(Base):
        def get(self, n):
            return super().get(n) + super().value, super(Derived, self).get(n)
    return Derived().get(x)

def type_parameters(log, x):
    def f[T: int, *Ts, **P](a: T, b=x, *, c: "q" = 1) -> T:
        return a, b, c, T.__bound__
    class K:
        z = int
        def m[U: (z, str)](self, a: z, *, k=2) -> U:
            return a, k, U.__constraints__
        @staticmethod
        def s[W](a: W = x) -> list[W]:
            return a
        class In[V](list[V], metaclass=type):
            "text"
            def g(self) -> V:
                return V
    type A[S] = list[S]
    type B = dict[str, K.z]
    names = [str(one) for one in (*f.__type_params__, *K.In.__type_params__, A[int], B.__value__)]
    return f(1), K().m(2), K.s(), K.In([3]), str(K.In().g()), names, f.__annotations__ and "some"

def quotes(log, x):
    return f"{'a' if x else "b"} {x:{x}} {f"{x!r}"}"
"""

OF_314 = """
def templates(log, x):
    def shown(template):
        parts = [(one.value, one.expression, one.conversion, one.format_spec)
                 for one in template.interpolations]
        return template.strings, parts
    y = "y"
    plain = t"", t"only {{text}}", t"{x}", t"{x}{y}"
    more = t"a{x!r:>{x + 8}}b{ x + 1 =}{y:q}{y!s}{y!a:{x}{y!r}}", (
        t"{ {x: y}[x] }" t"{[i for i in y]}")
    nested = t"{t'{x}' if x else (lambda z: z)}", t"{f'{x}' + \"'\"!r}", t'''{
        x
    }\\ \n'''
    return [shown(one) for one in (*plain, *more)], len(nested), shown(nested[1])

def commented_templates(log, x):
    found = t'''{x  # the first
        }'''
    return found.values, found.interpolations[0].expression

def late_annotations(log, x):
    y = int
    def f(a: y, *b: missing if x > 3 else str, c: "text" = 1, **d: (log.append(x), x)[1]) -> [y, x]:
        inner: log.append("never") = a
        return inner
    async def g[T](a: T, b: y = 2) -> list[T]:
        return a
    before = len(log)
    try:
        found = f.__annotations__
    except NameError as error:
        found = str(error)
    return found, before, log, str(g.__annotations__), g.__defaults__

def annotated_classes(log, x):
    class K[T]:
        "text"
        a: int = 1
        b: Later
        _c: list[T]
        __d: "text" = 3
        if x:
            e: str = "e"
            log.append(a)
        elif not x:
            e: bytes
        else:
            never: int
        for i in range(x):
            f: T = i
        try:
            g: int = 1 // x
        except ZeroDivisionError:
            h: int = 0
        while False:
            gone: int
        def m(self, a: T, __b: a = a) -> Later:
            return self.b
        z: (lambda: a)
        class In:
            b: a
            c: Later
    class Later:
        a = str
    names = lambda found: {name: str(one).split(" at ")[0] for name, one in found.items()}
    kept = [names(one.__annotations__) for one in (K, K.In, K.m)]
    return kept, K.__doc__, [one for one in vars(K) if one[0] != "_"]

def written_out(log, x):
    found = all(i < 4 for i in range(x)), any(i == 3 for i in range(x)), tuple(i for i in range(x))
    if any(log.append(i) or i for i in (range(x) if x > 2 else [x])) and not all([i for i in log]):
        found += tuple(j for i in found for j in (i, x) if any(k for k in range(x)))
    try:
        return tuple(1 // (x - i) for i in range(x + 1)) or found
    except ZeroDivisionError:
        return found, all(x for x in log), any((yield_ for yield_ in log)), x

def of_another_meaning(log, x):
    global any, tuple
    any, tuple = max, sorted
    def inner(all):
        return all(i for i in range(x))
    try:
        return any((i for i in range(x)), default=x), any(i for i in [3, x]), tuple(
            -i for i in range(x)), inner(list)
    finally:
        del any, tuple

def without_parentheses(log, x):
    try:
        return [1, 2, 3][x], {1: 2}[x], log.missing
    except IndexError, KeyError:
        return x

def constant_slices(log, x):
    a = list(range(9))
    a[1:3] = a[:2]
    del a[4:]
    a[::2] += [7, 7] if len(a[::2]) == 2 else a[:0]
    class Items:
        def __getitem__(self, key):
            return key
    items = Items()
    return a[-1:], a[None:2], items[1:2, x], items[1:True], items[:], items[1:2, 3:x, ...]

def kept_tests(log, x):
    from builtins import slice, Ellipsis
    def flag(value):
        log.append(value)
        return value
    found = flag(x) and flag(x > 2) or flag(x % 2) and flag(0) or flag("end")
    with_else = (flag(x) or flag(3)) and flag(x > 1) or flag(4) if x < 5 else flag(5) and flag(6)
    return found, with_else, slice is not Ellipsis

def only_text_is_no_docstring(log, x):
    def f():
        return "a"
    def g():
        "a"
        return "b"
    return f(), f.__doc__, g(), g.__doc__
"""

TEXTS_314 = """
from __future__ import annotations

def annotations_as_texts(log, x):
    def f(a: int, b: 'text' = 1, *c: list[Missing]) -> (1, 2):
        return a
    class K:
        "text"
        a: Missing = 3
        b: dict[str, "int"]
        if x:
            c: int = 4
        def m(self, a: K) -> None: pass
    return f.__annotations__, K.__annotations__, K.m.__annotations__, K.__doc__
"""

MODULES = {
    (3, 14): (
        """'text'
a: int = 3
b: str
if a:
    c: list[a] = 4
else:
    d: int
for i in range(2):
    e: (i, a)
class K:
    f: K
def g(x: a) -> K: return x
""",
        """'text'
from __future__ import annotations
a: int = 3
b: Missing
if a:
    c: list[a] = 4
class K:
    f: K
def g(x: a) -> K: return x
""",
    )
}
"""What stands outside of all functions."""

FILES = {(3, 11): "tests.decompile.programs_stars"}
SOURCES = {(3, 12): (OF_312,), (3, 14): (OF_314, TEXTS_314)}


def programs(version: tuple[Any, ...]) -> Iterator[FunctionType]:
    """Those that a version can read."""
    for since, name in FILES.items():
        if version >= since:
            yield from importlib.import_module(name).PROGRAMS
    for since, texts in SOURCES.items():
        for text in texts if version >= since else ():
            names: dict[str, Any] = {}
            exec(compile(text, "newer", "exec", dont_inherit=True), names)  # noqa: S102
            yield from (one for one in names.values() if isinstance(one, FunctionType))


def modules(version: tuple[Any, ...]) -> Iterator[str]:
    """Those that a version can read, as text."""
    for since, texts in MODULES.items():
        yield from texts if version >= since else ()
