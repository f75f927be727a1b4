"""What CPython's own tests, there and back, have shown to go wrong once."""

# ruff: noqa
# mypy: ignore-errors

from __future__ import annotations

import asyncio

from tests.decompile.managers import Manager


def empty_handlers(log, x):
    try:
        if x:
            raise (KeyError, TypeError, OSError)[x % 3]("no")
    except KeyError:
        pass
    except TypeError as error:
        pass
    except:
        pass
    else:
        log.append("else")


def left_from_a_handler(log, x):
    while True:
        try:
            x += 1
            if x > 3:
                raise KeyError(x)
            if x > 1:
                raise OSError(x)
        except KeyError:
            log.append("out")
            break
        except Exception as error:
            log.append(str(error))
    return log


def after_a_manager(log, x):
    while True:
        x += 1
        if x > 3:
            break
        with Manager(log, x, swallows=x == 2):
            log.append("in")
            if x == 2:
                raise KeyError(x)
            continue
        log.append("swallowed")
    log.append("end")
    return x


def no_second_turn(log, x):
    log.append("before")
    for i in range(x):
        log.append(i)
        break

    async def ticks():
        yield x

    async def main():
        log.append("begin")
        async for tick in ticks():
            log.append(tick)
            break

    asyncio.run(main())
    return "end"


def comprehensions_of_nothing(log, x):
    log.append([i for i in (j for j in range(x) if False)])
    log.append({i for i in range(x) if 0})
    log.append({i: i for i in range(x) for j in range(i) if False})
    return log


def generator_that_never_yields(log, x):
    async def nothing():
        log.append("run")
        await asyncio.sleep(0)
        if False:
            yield 1

    async def main():
        return [i async for i in nothing()]

    return asyncio.run(main())


def walrus_of_a_function_around(log, x):
    found = None

    def inside():
        nonlocal found
        [found := i for i in range(x)]
        return {(last := i) for i in range(3)}, last

    log.append(inside())
    return found


def stars_of_constants(log, x):
    def got(*args, **kwargs):
        return args, kwargs

    log.append(got(*()))
    log.append(got(*(), **{"x": x}))
    log.append([*(1, 2, 3), x])
    log.append([*(1, 2, 3), *(4, 5, 6)])
    log.append([1, 2, 3])
    return got(1, *(2, 3), *[x])


def annotations_of_no_name(log, x):
    class Holder:
        log.x: int = x

    class Plain:
        a: int = 1

    return Holder.__annotations__, Plain.__annotations__


def decorators_of_attributes(log, x):
    @log.append
    def f():
        return x

    log.append(f)
    return type(log.pop()), len(log), log.clear()


def leaves_a_try_early(log, x):
    try:
        if log.count(x):
            return
    except AttributeError:
        log.append("never")
        raise
    log.append(x // (x - 2))
    log.append("late")


def goes_on_from_a_try(log, x):
    while x < 9:
        x += 2
        try:
            if x % 3 == 0:
                continue
            if x == 7:
                raise KeyError(x)
        except KeyError as error:
            log.append(error.args)
        finally:
            log.append("finally")
        log.append(x)
    return x


def iterates_over_a_choice(log, x):
    log += (one + x for one in (range(x) if x > 1 else [x]))
    return sum(one for one in log or [7])


def loop_of_one_turn(log, x):
    y = x
    if x > 1:
        y = 1 if x > 3 else 7
        for one in range(x - 2):
            try:
                log.append(one)
            finally:
                return 5
    log.append(y)


def modules_in_packages(log, x):
    import os.path as two
    import concurrent.futures.thread as three
    import xml.etree.ElementTree as tree, json

    with Manager(log, x):
        import email.mime.text as inside
    return two.__name__, three.__name__, tree.__name__, json.__name__, inside.__name__


def continues_from_a_finally(log, x):
    for i in range(3):
        try:
            if i == x:
                continue
            log.append(i)
        finally:
            if i:
                log.append("some")
            elif x:
                log.clear()
        log.append("after")
    while True:
        x += 1
        try:
            match x:
                case 1 | 3:
                    continue
                case _ if x > 4:
                    return x
        finally:
            match len(log):
                case 0:
                    log.append("none")
                case n if n > 9:
                    log.clear()
        log.append(x)


def finally_in_a_finally(log, x):
    try:
        if x == 2:
            log.append(2)
        elif x == 3:
            log.append(1 // (x - 3))
    finally:
        try:
            if x > 3:
                log.append(x)
        finally:
            log.append("last")


def forgets_in_a_finally(log, x):
    error = x
    try:
        try:
            log.append(1 // (x - 2))
        finally:
            error = None
            del error
    except ZeroDivisionError as error:
        log.append(repr(error))
    return [log, lambda: x][x % 2](*[]) if x == 3 else [*(lambda *a, **k: (a, k))(*log, **{"x": x})]


PROGRAMS = [
    forgets_in_a_finally,
    continues_from_a_finally,
    finally_in_a_finally,
    modules_in_packages,
    empty_handlers,
    left_from_a_handler,
    after_a_manager,
    no_second_turn,
    comprehensions_of_nothing,
    generator_that_never_yields,
    walrus_of_a_function_around,
    stars_of_constants,
    annotations_of_no_name,
    decorators_of_attributes,
    leaves_a_try_early,
    goes_on_from_a_try,
    iterates_over_a_choice,
    loop_of_one_turn,
]
