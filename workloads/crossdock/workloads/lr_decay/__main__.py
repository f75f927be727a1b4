"""`python -m crossdock.workloads.lr_decay`: as `crossdock run lr-decay`."""

import sys

from crossdock.workloads.lr_decay import command
from crossdock.workloads.runner import command_line

sys.exit(command_line(command))
