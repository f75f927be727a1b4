"""Learning rates by epoch."""

from __future__ import annotations

from typing import Any

import pytest

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.lr_decay.schedule import Schedule, schedules


def test_rates_change_at_the_decay_and_nowhere_else() -> None:
    made = schedules(large=0.2, small=0.01, decays=(1, 3), epochs=4)
    rates = {one.name: [one.at(epoch) for epoch in range(4)] for one in made}
    assert rates == {
        "constant large": [0.2] * 4,
        "constant small": [0.01] * 4,
        "decay at 1": [0.2, 0.01, 0.01, 0.01],
        "decay at 3": [0.2, 0.2, 0.2, 0.01],
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"decays": (4,)}, "decay at 4 decays at epoch 4, but the training has epochs 0 to 3"),
        ({"decays": (9,)}, "decays at epoch 9"),
        ({"decays": (0,)}, "decays at epoch 0"),
        ({"decays": ()}, "give one or more"),
        ({"decays": (2, 2)}, "each once"),
        ({"large": 0.01}, "large rate 0.01 is not above the small one, 0.01"),
        ({"small": 0.0}, r"constant small is 0\.0; give one above 0"),
        ({"small": -1.0}, r"constant small is -1\.0"),
        ({"large": float("inf")}, "constant large is inf"),
        ({"large": float("nan")}, "large rate nan"),
        ({"epochs": 0}, "epochs are 0"),
    ],
)
def test_what_is_no_schedule_is_refused(values: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"large": 0.2, "small": 0.01, "decays": (2,), "epochs": 4}
    with pytest.raises(ArgumentError, match=message):
        schedules(**given | values)


def test_decay_needs_its_rate() -> None:
    with pytest.raises(ArgumentError, match="not both"):
        Schedule(name="half", epochs=4, rate=0.1, decay=2)
