"""`python -m crossdock.workloads.b_tuning`."""

import sys

from crossdock.workloads.b_tuning import command
from crossdock.workloads.runner import command_line

sys.exit(command_line(command))
