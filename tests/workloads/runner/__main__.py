"""The squares as a program."""

import sys

from tests.workloads.runner import squares

from crossdock.workloads.runner import command_line

sys.exit(command_line(squares))
