"""Expressions, displays, calls, assignments.

Each program takes a log to write to, and a number that steers it; what it is written like is the
point, so that nothing is linted here.
"""

# ruff: noqa
# mypy: ignore-errors

from __future__ import annotations

from tests.decompile.managers import Manager, say, ticks


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


def formats(log, x):
    name = "n"
    return (
        f"{x}",
        f"{x!r:>10}|{name!s}|{name!a:{x + 5}}",
        f"{{}}{x:{'>'}{10}}",
        f"{x:0{x + 3}d}" if x >= 0 else "",
        f"a{1 + 1}bc{name}",
        "%s and %r" % (x, name),
        f"{x=}",
        f"",
        "plain",
        b"bytes",
        f"{x!r}tail\n\t\\\"'",
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
    r = [0, 0, 0]
    r[0], r[1], r[2] = say(log, 1), say(log, 2), say(log, 3)
    return a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r


def walrus(log, x):
    if (n := say(log, x)) > 1 and (m := n + 1):
        log.append(m)
    while (n := n - 1) > 0:
        log.append(n)
    l = [y := x, y**2]
    a = (b := x) + b
    c = d = (e := x)
    return n, l, a, c, d, e, (f := 3), f


PROGRAMS = [
    arithmetic,
    collections_,
    subscripts,
    short_circuit,
    chains,
    calls,
    formats,
    unpacking,
    walrus,
]
"""Those that are decompiled."""
