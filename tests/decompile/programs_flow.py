"""Branches, loops, handlers, contexts, patterns.

Each program takes a log to write to, and a number that steers it; what it is written like is the
point, so that nothing is linted here.
"""

# ruff: noqa
# mypy: ignore-errors

from __future__ import annotations

import contextlib

from tests.decompile.managers import Manager, say, ticks


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


def returns_from_two_loops(log, x):
    i = 1
    while True:
        for j in 1, 2, 5:
            log.append(i * j)
            if i * j > x:
                return i, j
        i *= 10


def cleans(log, x):
    try:
        with Manager(log, "a", x == 1) as a:
            log.append(1 // x)
    finally:
        kept = []
        for one in (a, x):
            if one is not None:
                kept.append(one)
        log.append(kept)


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
    conditional,
    whiles,
    fors,
    tries,
    finallies,
    finally_returns,
    returns_from_two_loops,
    cleans,
    raises,
    withs,
    deletes,
    unbound,
    matches,
]
"""Those that are decompiled."""
