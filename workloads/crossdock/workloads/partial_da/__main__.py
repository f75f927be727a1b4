"""`python -m crossdock.workloads.partial_da`."""

import sys

from crossdock.workloads.partial_da import command
from crossdock.workloads.runner import command_line

sys.exit(command_line(command))
