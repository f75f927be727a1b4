"""Functions in functions, classes, generators, comprehensions, names.

Each program takes a log to write to, and a number that steers it; what it is written like is the
point, so that nothing is linted here.
"""

# ruff: noqa
# mypy: ignore-errors

from __future__ import annotations

import asyncio
import os.path

from tests.decompile.managers import Manager, say, ticks

GLOBAL = 0


def generators(log, x):
    def inner(n):
        try:
            got = yield n
            log.append(got)
            while n:
                n -= 1
                if (yield n) == "stop":
                    return "stopped"
        finally:
            log.append("closed")

    def outer():
        result = yield from inner(x)
        log.append(result)
        yield (yield)
        return 5

    made = outer()
    log.append(next(made))
    for value in ("first", None, "stop", 1, 2, 3, 4):
        try:
            log.append(made.send(value))
        except StopIteration as stop:
            log.append(stop.value)
            break
    made.close()
    return list(i for i in inner(2))


def never_yields(log, x):
    def empty():
        return x
        yield

    async def empty_async():
        return
        yield

    return list(empty()), type(empty_async()).__name__


def closures(log, x):
    total = 0

    def add(n, *, times=2, **more):
        nonlocal total
        total += n * times
        return lambda m=n: m + total + x

    def counter():
        total = 10

        class Local:
            y = total

            def get(self):
                return total + self.y, __class__.__name__

        return Local().get()

    del x_holder[:]
    f = add(x)
    x += 1
    return f(), add(1, times=3)(2), total, counter(), [add for _ in range(2)][0] is add


x_holder = []


def globals_(log, x):
    global GLOBAL, OTHER
    GLOBAL = x

    def inner():
        global GLOBAL
        GLOBAL += 1
        return GLOBAL

    def shadow():
        say = len

        def deep():
            global say
            return say

        return deep() is say

    OTHER = inner()
    value = OTHER
    del OTHER
    return GLOBAL, value, shadow()


def comprehensions(log, x):
    a = [i * j for i in range(x) if i % 2 if i for j in range(i) if j or i]
    b = {i: [k for k in range(i)] for i in range(x)}
    c = {i for i in a if not i == 2 and i < 9 or i == 10}
    d = sum(i for i in range(x) if say(log, i))
    e = [(lambda: i)() for i in range(x)]
    f = [last := i for i in range(x)]
    g = [[y for y in range(z)] for z in range(x) if (lambda q: q)(z)]
    return a, b, sorted(c), d, e, f, g, [1 if i else 2 for i in range(2)], {**b}, [*a, *c]


def annotated(log, x):
    y: int = x
    z: list[int]

    def f(a: int, *b: str, c: x = 1, **d: dict) -> float:
        return a

    class C:
        a: int
        b: "text" = 2
        c = 3

    return y, f.__annotations__, C.__annotations__, C.b


def imports(log, x):
    import os
    import os.path
    import os.path as p
    from collections import OrderedDict, abc
    from collections import deque as dq
    from os import path

    return os.sep, p is os.path, path is p, OrderedDict, abc, dq


def classes(log, x):
    def decorate(value):
        log.append(value)

        def wrap(made):
            log.append(made.__name__)
            return made

        return wrap

    @decorate(1)
    @decorate(2)
    class Base:
        """A docstring."""

        __private = x
        if x > 2:
            more = __private
        else:
            less = x
        for loop in range(2):
            pass

        def __init__(self, value=__private):
            self.__value = value

        @property
        def value(self):
            "Another."
            return self.__value

        @value.setter
        def value(self, __to):
            self.__value = __to

        @staticmethod
        def __hidden():
            return "hidden"

        def call(self):
            return self.__hidden(), __class__

        class Inner:
            z = 1

    class Derived(Base, metaclass=type):
        def __init__(self, *args, **more):
            super().__init__(*args, **more)

        @decorate(3)
        async def later(self):
            return self

    made = Derived(x)
    made.value += 2
    called = made.call()
    return (
        made.value,
        called[0],
        called[1].__name__,
        Base.__doc__,
        Base.__qualname__,
        Base.Inner.__qualname__,
        Base.value.fget.__doc__,
        sorted(key for key in vars(Base) if "_Base" in key or key in {"more", "less", "loop"}),
    )


def asynchronous(log, x):
    async def work():
        async with Manager(log, "a") as a, Manager(log, "b", True):
            async for i in ticks(x):
                if i == 1:
                    continue
                if i == 3:
                    break
                log.append(i)
            else:
                log.append("else")
            if x == 2:
                raise KeyError
            if x == 4:
                return "early"
        made = [i async for i in ticks(3) if i]
        more = {await asyncio.sleep(0, i) for i in range(x)}
        lazy = (i async for i in ticks(2))
        async for value in lazy:
            made.append(value)
        return made, sorted(more), await asyncio.sleep(0, "slept")

    return asyncio.run(work())


PROGRAMS = [
    generators,
    never_yields,
    closures,
    globals_,
    comprehensions,
    annotated,
    imports,
    classes,
    asynchronous,
]
"""Those that are decompiled."""
