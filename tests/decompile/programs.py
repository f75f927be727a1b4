"""Programs with every construct of Python: each takes a log to write to, and a number that steers.

They are decompiled, recompiled and run beside the original.
"""

# ruff: noqa: A001, ARG001, B007, B009, B010, B018, B023, C416, C419, C901, E711, E712, E731, E741
# ruff: noqa: F401, F541, F841, PERF401, PIE, PT, RET, RUF, S, SIM, TRY, UP, B012, B904, BLE001
# mypy: ignore-errors

from __future__ import annotations

import asyncio
import contextlib
import os.path

GLOBAL = 0


class Manager:
    """A context that logs, and may swallow what is raised in it."""

    def __init__(self, log, name, swallows=False):
        self.log, self.name, self.swallows = log, name, swallows

    def __enter__(self):
        self.log.append(f"enter {self.name}")
        return self.name

    def __exit__(self, kind, value, trace):
        self.log.append(f"exit {self.name} {kind and kind.__name__}")
        return self.swallows

    async def __aenter__(self):
        return self.__enter__()

    async def __aexit__(self, kind, value, trace):
        return self.__exit__(kind, value, trace)


def say(log, value):
    """Log when a value is computed."""
    log.append(value)
    return value


async def ticks(count):
    """An asynchronous generator."""
    for i in range(count):
        await asyncio.sleep(0)
        yield i


def arithmetic(log, x):
    a = x + 1 - 2 * x // 3 % 4
    b = -a ^ ~x | x & 7 << 1 >> 1
    c = 2**3 / 4 + (not a)
    a += b
    a -= 1
    a **= 2
    a |= 8
    return a, b, c, +x, x == 3 != 4, x is None, x is not None, x in (1, 2), x not in [3]


def collections_(log, x):
    t = (x, 1, *range(x))
    l = [1, 2, 3, *t, x]
    s = {x, 1, *l}
    d = {"a": x, **{"b": 1}, x: s, "c": [1, 2, 3]}
    long = [x, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23]
    e = {"one": x, "two": 2}
    return t, l, sorted(s), d, l[1:], l[:-1], l[::2], l[x:5:2], long, e, l[1:2][0], {}, [], ()


def subscripts(log, x):
    l = list(range(10))
    l[1] = x
    l[2] += say(log, 5)
    l[say(log, 3)] -= 1
    l[4:6] = [x, x, x]
    del l[0]
    del l[-1], l[1:2]
    o = Manager(log, "o")
    o.name += "p"
    o.swallows = o.extra = x
    del o.extra
    return l, o.name, o.swallows


def short_circuit(log, x):
    a = say(log, x) and say(log, x - 1) or say(log, 7)
    b = x or x - 1 or say(log, 0)
    c = x and (x - 1 or say(log, 2)) and 5
    if x > 0 and (x < 3 or say(log, x) == 4) and not x == 2:
        log.append("in")
    if not (x and say(log, "q")) or x == 5:
        log.append("out")
    return a, b, c, (x if x > 1 else -x) if x else "zero", 1 if x and a else 2


def chains(log, x):
    if 0 < say(log, x) < 3:
        log.append("a")
    elif 3 <= say(log, x) <= say(log, 4) < 9:
        log.append("b")
    y = 1 < say(log, x) <= 3 != x
    z = not 0 < x < 2 or x == 4
    while 0 < x < 3:
        x -= 1
    return x, y, z, (say(log, 1) < x < say(log, 3)) + 1


def conditional(log, x):
    if x == 0:
        return "zero"
    elif x == 1:
        log.append("one")
    elif x == 2:
        if x:
            pass
        else:
            log.append("never")
    else:
        log.append("more")
        if x > 3:
            log.append("much")
    if x:
        pass
    assert x < 4, f"too much: {x}"
    assert x != -1
    return log


def whiles(log, x):
    n = 0
    while x > 0 and n < 10:
        x -= 1
        n += 1
        if n == 2:
            continue
        if x == 1:
            break
        log.append(n)
    else:
        log.append("else")
    while True:
        n += 1
        if n > 5:
            break
        if n % 2:
            continue
        log.append("even")
    while n:
        n -= 1
        while n > 3:
            n -= 2
            if n == 4:
                break
    return x, n


def fors(log, x):
    for i in range(x):
        if i == 2:
            continue
        for j in range(i):
            if j == 1:
                break
            if i == 4:
                return "from within", i, j
        else:
            log.append("inner else")
    else:
        log.append("outer else")
    for a, (b, *c) in [(1, (2, 3, 4)), (5, (6,))]:
        log.append((a, b, c))
    for log_item in log:
        pass
    for k in [1, 2, 3]:
        if k == x:
            found = k
            break
    else:
        found = None
    return found


def tries(log, x):
    try:
        log.append(1 / x)
        [1, 2][x]
    except ZeroDivisionError as error:
        log.append(str(error))
    except (IndexError, KeyError):
        log.append("index")
        if x > 3:
            raise
    except:
        log.append("any")
    else:
        log.append("fine")
    finally:
        log.append("finally")
    try:
        error
    except NameError as caught:
        log.append(type(caught).__name__)
    return log


def finallies(log, x):
    for i in range(5):
        try:
            if i == x:
                continue
            if i == x + 1:
                break
            if i + x == 7:
                return "early", say(log, i)
            try:
                log.append(i)
                if x == 4:
                    raise ValueError(i)
            finally:
                log.append("inner")
        finally:
            log.append("outer")
            if x == 3:
                log.append("three")
    while x > 0:
        try:
            x -= 1
        finally:
            if x == 1:
                break
    return "end"


def finally_returns(log, x):
    try:
        try:
            return 1 // x
        finally:
            log.append("inner")
            if x == 2:
                return "swallowed"
    except ZeroDivisionError as error:
        try:
            raise KeyError(x) from error
        except KeyError as other:
            return repr(other.__cause__), repr(other.__context__)
    finally:
        log.append("outer")


def raises(log, x):
    try:
        if x == 0:
            raise ValueError
        elif x == 1:
            raise ValueError("text") from None
        elif x == 2:
            raise ValueError("text") from KeyError("cause")
        try:
            {}[x]
        except KeyError:
            raise TypeError(x)
    except ValueError as error:
        return repr(error), repr(error.__cause__), error.__suppress_context__
    except TypeError as error:
        return repr(error), repr(error.__context__)


def withs(log, x):
    with Manager(log, "a") as a, Manager(log, "b", x == 1) as b:
        log.append((a, b))
        if x == 0:
            return "returned", say(log, a)
        if x == 1:
            raise ValueError
        with Manager(log, "c", True):
            if x == 2:
                raise KeyError(x)
            for i in range(x):
                with Manager(log, i) as holder[0]:
                    if i == 1:
                        continue
                    if i == 3:
                        break
                    if x == 5:
                        return i
    with contextlib.suppress(ZeroDivisionError):
        log.append(1 // (x - 4))
    return "end"


holder = [None]


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


def calls(log, x):
    def f(a, b=2, /, c=3, *args, d, e=5, **more):
        return a, b, c, args, d, e, more

    pairs = {"e": x, "g": 1}
    positional = [x, x]
    return (
        f(1, d=2),
        f(*positional, d=1),
        f(1, *positional, 3, *positional, d=4, **pairs),
        f(x, d=x, **pairs, h=2),
        f(*positional, **{"d": 1}),
        print.__name__.upper().lower().join(["a", "b"]),
        max(x, key=None) if x is None else max([x, 1], key=lambda v: -v),
        f.__defaults__,
        f.__kwdefaults__,
    )


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


def formats(log, x):
    name = "n"
    return (
        f"{x}",
        f"{x!r:>10}|{name!s}|{name!a:{x + 5}}",
        f"{{}}{x:{'>'}{10}}",
        f"{x:0{x + 3}d}" if x >= 0 else "",
        f"a{1 + 1}b" f"c{name}",
        "%s and %r" % (x, name),
        f"{x=}",
        f"",
        "plain",
        b"bytes",
        f"{x!r}"
        "tail\n\t\\\"'",
    )


def unpacking(log, x):
    a, b = x, x + 1
    a, b = b, a
    a, b, c = say(log, 1), say(log, 2), say(log, 3)
    c, b, a = a, b, c
    d = e = f = say(log, x)
    g, *h = [1, 2, 3]
    *i, (j, k) = [1, 2, (3, 4)]
    l = [0, 0]
    l[0], l[1] = l[1] + 1, l[0] + 2
    m = l[0] = say(log, 9)
    (n, o), p = q = (1, 2), 3
    [] = ()
    return a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q


def walrus(log, x):
    if (n := say(log, x)) > 1 and (m := n + 1):
        log.append(m)
    while (n := n - 1) > 0:
        log.append(n)
    l = [y := x, y**2]
    a = (b := x) + b
    c = d = (e := x)
    return n, l, a, c, d, e, (f := 3), f


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


def deletes(log, x):
    y = x
    del y
    try:
        return y
    except UnboundLocalError as error:
        log.append(type(error).__name__)
    d = {1: 2, 3: 4}
    del d[1], d[3]
    l = [1, 2, 3]
    del l[-1]
    (a, b) = (1, 2)
    del (a, b)
    return d, l


def unbound(log, x):
    if False:
        never = 1
    try:
        return never
    except UnboundLocalError:
        return "unbound"


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


class Point:
    __match_args__ = ("a", "b")

    def __init__(self, a, b):
        self.a, self.b = a, b


def matches(log, x):
    subjects = [
        x,
        [x, 1],
        [1, 2, 3, x],
        {"k": x, "other": 1},
        Point(x, 2),
        Point(1, [x]),
        "text",
        None,
        (x,),
        {},
    ]
    for subject in subjects:
        match subject:
            case 0 | 1:
                log.append("small")
            case int(n) if n > 2:
                log.append(("large", n))
            case [a, 1]:
                log.append(("pair", a))
            case [1, *rest, last]:
                log.append(("list", rest, last))
            case {"k": value, **others}:
                log.append(("map", value, others))
            case Point(a=1, b=[inner]) as whole:
                log.append(("point", inner, whole is subject))
            case Point(first, second):
                log.append((first, second))
            case "text" | "other":
                log.append("text")
            case None:
                log.append("none")
            case (_,):
                log.append("single")
            case _:
                log.append("other")
    match x:
        case 3:
            return "three"
    return "end"


PROGRAMS = [
    arithmetic,
    collections_,
    subscripts,
    short_circuit,
    chains,
    conditional,
    whiles,
    fors,
    tries,
    finallies,
    finally_returns,
    raises,
    withs,
    generators,
    never_yields,
    closures,
    globals_,
    comprehensions,
    calls,
    annotated,
    formats,
    unpacking,
    walrus,
    imports,
    classes,
    asynchronous,
    deletes,
    unbound,
    matches,
]
"""Those that are decompiled."""
