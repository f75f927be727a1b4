"""`python -m crossdock.workloads.logme`."""

import sys

from crossdock.workloads.logme import command
from crossdock.workloads.runner import command_line

sys.exit(command_line(command))
