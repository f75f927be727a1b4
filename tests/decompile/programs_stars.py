"""``except*`` whose handlers do nothing, and annotations with a star.

Each program takes a log to write to, and a number that steers it; what it is written like is the
point, so that nothing is linted here. Annotations are evaluated: nothing is imported from the
future.
"""

# ruff: noqa
# mypy: ignore-errors


def _raised(log, x):
    kinds = [ValueError, TypeError, KeyError, OSError][: x + 1]
    log.append(x)
    raise ExceptionGroup("several", [kind(x) for kind in kinds])


def groups_forgotten(log, x):
    for turn in range(2):
        try:
            _raised(log, x)
        except* ValueError as first:
            pass
        except* TypeError:
            pass
        except* KeyError as last:
            pass
        else:
            log.append("none")
        log.append(turn)
        try:
            log.append(first)
        except UnboundLocalError:
            log.append("gone")
    return "end"


def groups_forgotten_at_last(log, x):
    try:
        try:
            _raised(log, x)
        except* ValueError as error:
            log.append(len(error.exceptions))
        except* (TypeError, KeyError) as error:
            pass
    except* OSError as error:
        pass
    finally:
        log.append("finally")


def groups_forgotten_in_a_cell(log, x):
    try:
        _raised(log, x)
    except* Exception as error:
        pass

    def again():
        return error

    try:
        return again()
    except NameError:
        return "gone"


def groups_forgotten_by_hand(log, x):
    try:
        _raised(log, x)
    except* Exception as error:
        error = None
        del error
        log.append("deleted")
    return x


def annotations_with_a_star(log, x):
    def types(*given: *(log.append("first"), (int, x))[1:]) -> tuple[int]:
        return given

    class Holder:
        def method(self, one: str, *args: *[x], key: int = 1, **rest: float):
            return one, args, key, rest

    log.append(types.__annotations__)
    log.append(Holder.method.__annotations__)
    return types(x), Holder().method("a", x, key=2, more=x)


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


PROGRAMS = [
    group,
    groups_forgotten,
    groups_forgotten_at_last,
    groups_forgotten_in_a_cell,
    groups_forgotten_by_hand,
    annotations_with_a_star,
]
