"""Programs with every construct of Python, which are run beside their round trips."""

from __future__ import annotations

import sys
from typing import Any

from tests.decompile import (
    programs_flow,
    programs_found,
    programs_matches,
    programs_scopes,
    programs_values,
)
from tests.decompile.interpreters import newer

PROGRAMS: list[Any] = [
    *programs_values.PROGRAMS,
    *programs_flow.PROGRAMS,
    *programs_matches.PROGRAMS,
    *programs_found.PROGRAMS,
    *programs_scopes.PROGRAMS,
    *newer.programs(sys.version_info),
]
