"""``match`` with every kind of pattern."""

# ruff: noqa
# mypy: ignore-errors

from __future__ import annotations

import enum


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Point:
    __match_args__ = ("x", "y")

    def __init__(self, x, y):
        self.x, self.y = x, y


def subjects(x):
    return [
        *(x, None, True, -1, 1.5, -2j, "text", b"raw", Colour.RED, Colour.BLUE),
        *([], [x], [1, x], [1, 2, x], [x, 2, 3, 4], (x, (1, x)), [[1], [x, 2]], [[], {}]),
        *({}, {"a": x}, {"a": 1, "b": x}, {Colour.RED: x, "c": 3}, {"deep": {"a": [x]}}),
        *(Point(x, 2), Point(1, Point(2, x)), Point([x], None)),
    ]


def literals(log, x):
    for subject in subjects(x):
        match subject:
            case 1:
                log.append("one")
            case -1 | -2j | 1.5:
                log.append("numbers")
            case True:
                log.append("true")
            case None:
                log.append("none")
            case "text" | b"raw":
                log.append("texts")
            case Colour.RED:
                log.append("red")
            case _:
                log.append("other")
    return log


def sequences(log, x):
    for subject in subjects(x):
        match subject:
            case []:
                log.append("empty")
            case [one]:
                log.append(one)
            case [1, 2, *_]:
                log.append("begins")
            case [*_, 3, last]:
                log.append(last)
            case [[a], [*rest, 2]] if a != x:
                log.append((a, rest))
            case (first, (_, second) as pair):
                log.append((first, second, pair))
            case [first, *middle, _]:
                log.append((first, middle))
    return "end"


def mappings(log, x):
    for subject in subjects(x):
        match subject:
            case {"a": 1, "b": b}:
                log.append(b)
            case {"a": a, **rest}:
                log.append((a, rest))
            case {"deep": {"a": [inner]}}:
                log.append(inner)
            case {Colour.RED: value, "c": _}:
                log.append(value)
            case {**everything}:
                log.append(everything)
            case [_, {}]:
                log.append("nested")


def classes_matched(log, x):
    for subject in subjects(x):
        match subject:
            case Point(x=[_], y=None):
                log.append("attributes")
            case Point(a, 2) | Point(1, Point(2, a)):
                log.append(a)
            case Point() as point:
                log.append(point.x)
            case str() | bytes():
                log.append("text")
            case int(n) if n > 2:
                log.append(n)
            case bool() | float():
                log.append("number")


def guards(log, x):
    for subject in subjects(x):
        match subject:
            case a if isinstance(a, str) or a is None:
                log.append(a)
                continue
            case _ if x > 5:
                log.append("much")
                break
            case _ as b if not x:
                log.append(b is x)
            case [a, *_] if (n := x) and not n > 3 and a:
                log.append(n)
            case 1 | 2 if False:
                log.append("never")
            case c:
                log.append(type(c).__name__)
    else:
        return "all"
    return "some"


def guards_alone(log, x):
    for subject in subjects(x):
        match subject:
            case 1 if [one for one in range(x) if one]:
                log.append("one")
            case _ if x > 5:
                continue
            case _ if x and subject == "text":
                log.append("text")
            case [first, *rest] if first:
                log.append(rest)
            case {"a": a, **rest} if any([one in rest for one in "bc"]):
                log.append([(a, one) for one in rest])
            case _ if not x:
                log.append("nothing")
    return log


def alternatives(log, x):
    for subject in subjects(x):
        match subject:
            case [(1 | 2) as a, (3 | 4 | 5) as b] | [a, 2, b]:
                log.append((a, b))
            case [[a] as b, _] | {"a": a, "b": b}:
                log.append((a, b))
            case (1 | [1]) | ([[]] | None):
                log.append("grouped")
            case (Colour.RED as c) | (Colour.BLUE as c):
                log.append(c.name)


def surrounded(log, x):
    global_one = [x]
    while True:
        try:
            match global_one:
                case [n] if n > 3:
                    return log
                case [n]:
                    global_one = [n + 1]
                    match n:
                        case 0 | 1:
                            continue
                        case 2:
                            raise KeyError(n)
        except KeyError as error:
            match error.args:
                case (2,):
                    log.append("two")
        finally:
            match len(log):
                case 0:
                    log.append("first")
                case n if n > 9:
                    log.clear()
        log.append(n)


def only_one(log, x):
    def returns(y):
        match y, x:
            case 1, 2:
                return "1 2"
            case a, b if a == b:
                return lambda: (a, b)

    match x:
        case int():
            log.append("int")
    match [x, x]:
        case [a, b]:
            log.append(a)
    match ...:
        case _:
            log.append("any")
    match x:
        case 1 | 2 | 3:
            return "small"
    found = returns(x)
    return found() if callable(found) else found


PROGRAMS = [
    literals,
    sequences,
    mappings,
    classes_matched,
    guards,
    guards_alone,
    alternatives,
    surrounded,
    only_one,
]
