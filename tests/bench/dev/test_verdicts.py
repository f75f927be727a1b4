"""What choices are worth, on trials whose verdicts are plain."""

from __future__ import annotations

import pytest

from crossdock.bench.dev.trials import Scored, Trial
from crossdock.bench.dev.verdicts import CHANCE, Verdict, verdicts

ACCURACIES = (0.5, 0.9, 0.7)


def trial(seed: int, **scores: list[float | None]) -> Trial:
    """Three candidates; names of selectors have `_` for `, `."""
    named = {name.replace("__", ", ").replace("_", " "): row for name, row in scores.items()}
    named.setdefault("source risk, CE", [1.0, 3.0, 2.0])
    return Trial(
        task="biased",
        seed=seed,
        candidates=[
            Scored(
                name=f"{i}",
                accuracy=accuracy,
                scores={name: row[i] for name, row in named.items()},
                refused={},
            )
            for i, accuracy in enumerate(ACCURACIES)
        ],
        seconds=dict.fromkeys(named, 0.5 + seed),
    )


def found(*trials: Trial) -> dict[str, Verdict]:
    return {verdict.selector: verdict for verdict in verdicts(trials)}


def test_a_selector_that_is_always_right() -> None:
    verdict = found(trial(0, DEV=[3.0, 1.0, 2.0]), trial(1, DEV=[9.0, 0.0, 0.5]))["DEV"]
    assert (verdict.chosen, verdict.refused) == (2, 0)
    assert verdict.tau == pytest.approx(1)
    assert (verdict.accuracy, verdict.regret, verdict.worst) == (0.9, 0, 0)
    assert (verdict.below_source, verdict.below_chance) == (0, 0)
    assert verdict.seconds == 1.0


def test_a_selector_that_is_once_wrong() -> None:
    verdict = found(trial(0, DEV=[3.0, 1.0, 2.0]), trial(1, DEV=[1.0, 3.0, 2.0]))["DEV"]
    assert verdict.regret == pytest.approx(0.2)
    assert verdict.worst == pytest.approx(0.4)
    # Student's t of one degree of freedom, times sd / sqrt(2).
    assert verdict.regret_half == pytest.approx(12.7062 * 0.2, rel=1e-4)
    assert verdict.tau == pytest.approx(0)
    assert (verdict.below_source, verdict.below_chance) == (0, 1)


def test_refused_candidates_are_not_chosen() -> None:
    verdict = found(trial(0, DEV=[None, None, 2.0]), trial(1, DEV=[None, None, None]))["DEV"]
    assert (verdict.chosen, verdict.refused) == (1, 5)
    assert verdict.accuracy == 0.7
    assert verdict.tau is None


def test_choices_are_held_against_the_source_risk_with_the_same_loss() -> None:
    verdict = found(
        trial(
            0,
            source_risk__CE=[1.0, 3.0, 2.0],  # chooses 0.5
            source_risk__01=[3.0, 1.0, 2.0],
            DEV__CE=[2.0, 3.0, 1.0],
        )
    )["DEV, CE"]
    assert verdict.below_source == 0
    other = trial(0, DEV=[1.0, 2.0, 3.0], source_risk__CE=[3.0, 1.0, 2.0])
    assert found(other)["DEV"].below_source == 1


def test_chance_is_the_mean_of_all() -> None:
    verdict = found(trial(0, DEV=[3.0, 1.0, 2.0]))[CHANCE]
    assert verdict.accuracy == pytest.approx(0.7)
    assert verdict.regret == pytest.approx(0.2)
    assert verdict.below_source == 0
    assert verdict.below_chance == 0
