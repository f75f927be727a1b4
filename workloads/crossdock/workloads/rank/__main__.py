"""`python -m crossdock.workloads.rank`."""

import sys

from crossdock.workloads.rank import command
from crossdock.workloads.runner import command_line

sys.exit(command_line(command))
