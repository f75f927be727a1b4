"""``python unittest_outcomes.py FILE TEST...``: runs tests of CPython, says what became of each.

Lines of FILE: an outcome and the name of a test; ``begun`` is not the last of a test that ended.
Nothing but the standard library is imported, since that is what is tested.
"""

from __future__ import annotations

import signal
import sys
import unittest
from typing import Any, TextIO


class Outcomes(unittest.TestResult):
    """Writes each outcome when it is known."""

    def __init__(self, file: TextIO) -> None:
        super().__init__()
        self.file = file

    def tell(self, outcome: str, test: unittest.TestCase) -> None:
        """A line."""
        print(outcome, test.id().replace("\n", " "), file=self.file, flush=True)

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        """Begun."""
        super().startTest(test)
        self.tell("begun", test)

    def addSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        """Passed."""
        self.tell("passed", test)

    def addError(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        """Raised what it should not."""
        super().addError(test, err)
        self.tell("failed", test)

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        """Asserted what is not so."""
        super().addFailure(test, err)
        self.tell("failed", test)

    def addSubTest(self, test: unittest.TestCase, subtest: Any, err: Any) -> None:  # noqa: N802
        """Part of a test; only failures count."""
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.tell("failed", test)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802
        """Not run."""
        self.tell("skipped", test)

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        """Known to fail."""
        self.tell("passed", test)

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        """Known to fail, but did not."""
        self.tell("failed", test)


def main(path: str, names: list[str]) -> int:
    """Run them in a folder of their own, without network and what else takes long."""
    from test import support  # type: ignore[import-not-found]
    from test.support import os_helper  # type: ignore[import-not-found]

    support.use_resources = []
    # A job in the background ignores it, and tests of asyncio would wait for it without an end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open(path, "w", encoding="utf-8") as file, os_helper.temp_cwd():  # noqa: PTH123
        outcomes = Outcomes(file)
        unittest.defaultTestLoader.loadTestsFromNames(names).run(outcomes)
        for test, text in [*outcomes.errors, *outcomes.failures]:
            print(test.id(), text, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
