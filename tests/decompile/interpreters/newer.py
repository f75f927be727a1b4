"""Programs in the syntax of newer versions, as text: older ones cannot read it."""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType
from typing import Any

OF_311 = """
def group(log, x):
    def throw(*errors):
        raise ExceptionGroup("some", errors)

    try:
        if x == 0:
            throw(ValueError(1))
        elif x == 1:
            throw(ValueError(1), TypeError(2))
        elif x == 2:
            throw(KeyError(1), ValueError(2))
        elif x == 3:
            raise TypeError
        elif x == 4:
            throw(OSError(1))
    except* ValueError as errors:
        log.append(("value", [repr(one) for one in errors.exceptions]))
        if x == 2:
            raise RuntimeError from None
    except* (TypeError, KeyError):
        log.append("type or key")
    else:
        log.append("else")
    finally:
        log.append("finally")
    return "end"
"""

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

SOURCES = {(3, 11): OF_311, (3, 12): OF_312}


def programs(version: tuple[Any, ...]) -> Iterator[FunctionType]:
    """Those that a version can read."""
    for since, text in SOURCES.items():
        if version >= since:
            names: dict[str, Any] = {}
            exec(compile(text, "newer", "exec"), names)  # noqa: S102
            yield from (one for one in names.values() if isinstance(one, FunctionType))
