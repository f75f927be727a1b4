"""What a user may set of the controller, checked where it is built."""

from __future__ import annotations

import math

import msgspec

from crossdock.proxy.errors import ArgumentError


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of ``Controller``. Times are in seconds of busy engine, so that an idle night ages nothing.

    Raises:
        ArgumentError: a value is out of its range; nothing is built then.
    """

    memory: float = 400.0
    """Outcomes of drafts that the estimate for all requests rests on; older ones fade."""
    request_memory: float = 24.0
    """The same of a single request."""
    per_request: bool = True
    """Estimate acceptance for each request; else all are alike."""
    correct_costs: bool = True
    """Correct the cost model by measured steps."""
    explore: float = 0.01
    """Share of the time that may be spent on learning; 0: never probe."""
    margin: float = 0.01
    """How much more goodput than without speculation is asked of any speculation."""
    switch_gain: float = 0.03
    """Predicted gain for which the length changes at once."""
    hold_s: float = 0.2
    """How long a smaller gain must last until the length changes."""
    time_per_token_s: float | None = None
    """The most seconds a token, in the mean, that any request may have; None: no bound.

    A long step for the sake of those whose drafts are accepted makes the others wait.
    """

    def __post_init__(self) -> None:
        within = {
            "memory": (self.memory, 1.0, math.inf),
            "request_memory": (self.request_memory, 1.0, math.inf),
            "explore": (self.explore, 0.0, 0.5),
            "margin": (self.margin, 0.0, 1.0),
            "switch_gain": (self.switch_gain, 0.0, 10.0),
            "hold_s": (self.hold_s, 0.0, 3600.0),
        }
        if self.time_per_token_s is not None:
            within["time_per_token_s"] = (self.time_per_token_s, 1e-6, 3600.0)
        for name, (value, low, high) in within.items():
            if not low <= value <= high:  # false for NaN too
                raise ArgumentError(f"{name} is {value}, it must be from {low} to {high}")
