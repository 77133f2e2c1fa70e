#!/usr/bin/env python3
"""Runs the end-to-end tests against a built server and ends with one line: `N passed, N failed`.

usage: tests/e2e/run.py [NAME...]              only tests whose name contains one of the words
       tests/e2e/run.py --folder DIR [NAME...]  the tests of another folder
MYTSDB_BIN says which server (default: target/debug/mytsdb).
"""

import sys
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from harness import MYTSDB_BIN  # noqa: E402 (needs the path above)


def tests_of(suite) -> list[unittest.TestCase]:
    found = []
    for item in suite:
        found += tests_of(item) if isinstance(item, unittest.TestSuite) else [item]
    return found


class Result(unittest.TestResult):
    """Prints a line per test as it ends. Skipping counts as failing: no test is optional."""

    def startTest(self, test) -> None:
        super().startTest(test)
        self.started = time.monotonic()

    def line(self, outcome: str, test) -> None:
        print(f"{outcome:6} {test.id()} ({time.monotonic() - self.started:.1f} s)", flush=True)

    def addSuccess(self, test) -> None:
        self.line("ok", test)

    def addFailure(self, test, error) -> None:
        super().addFailure(test, error)
        self.line("FAILED", test)

    def addError(self, test, error) -> None:
        super().addError(test, error)
        self.started = getattr(self, "started", time.monotonic())
        self.line("FAILED", test)

    def addSubTest(self, test, subtest, error) -> None:
        raise TypeError("subTest hides failures from the closing line; assert in the test itself")

    def addSkip(self, test, reason) -> None:
        self.addFailure(test, (AssertionError, AssertionError(f"skipped: {reason}"), None))


def main() -> int:
    wanted, folder = sys.argv[1:], HERE
    if wanted[:1] == ["--folder"]:
        folder, wanted = Path(wanted[1]).resolve(), wanted[2:]
    elif not MYTSDB_BIN.exists():
        print(f"no server at {MYTSDB_BIN}: build it first, or say MYTSDB_BIN")
        return 2
    loader, problems, run = unittest.TestLoader(), [], 0
    for path in sorted(folder.glob("test_*.py")):
        # Loaded when its turn comes: the "now" of a file must not be as old as all tests before it.
        tests = tests_of(loader.discover(str(folder), pattern=path.name))
        tests = [test for test in tests if not wanted or any(word in test.id() for word in wanted)]
        result = Result()
        unittest.TestSuite(tests).run(result)
        problems += result.failures + result.errors
        run += result.testsRun
    for test, trace in problems:
        print(f"\n{test.id()}\n{trace}")
    failed = len({test.id() for test, _ in problems})
    print(f"\n{max(run - failed, 0)} passed, {failed} failed")
    return 1 if failed or not run else 0


if __name__ == "__main__":
    sys.exit(main())
