"""`python -m crossdock.workloads.dev`: as `crossdock run dev`."""

import sys

from crossdock.workloads.dev import command
from crossdock.workloads.runner import command_line

sys.exit(command_line(command))
