"""`python -m crossdock.workloads.conv_bn`: as `crossdock run conv-bn`."""

import sys

from crossdock.workloads.conv_bn import command
from crossdock.workloads.runner import command_line

sys.exit(command_line(command))
