"""Whether an engine's speculation is controlled, and by what policy. Imports nothing of vLLM."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from crossdock.proxy.errors import ArgumentError
from crossdock.serving.turbospec import core
from crossdock.serving.turbospec.controller import Controller
from crossdock.serving.turbospec.driver import Driver, Observer
from crossdock.serving.turbospec.log import DecisionLog
from crossdock.serving.turbospec.settings import Settings
from crossdock.serving.turbospec.step import Policy
from crossdock.serving.turbospec.totals import Totals
from crossdock.serving.vllm import metrics
from crossdock.serving.vllm.profiled import costs_of

POLICY = "CROSSDOCK_TURBOSPEC_POLICY"
"""``module:function`` of one's own policy; it is given the most tokens that can be drafted."""
SETTINGS = "CROSSDOCK_TURBOSPEC_SETTINGS"
"""JSON of the controller's ``Settings``."""
LOG = "CROSSDOCK_TURBOSPEC_LOG"
"""File of the decision log."""
MODEL_FREE = ("ngram", "ngram_gpu", "suffix", "custom_class")
MODELS = ("medusa", "eagle", "eagle3", "mtp", "draft_model")
"""Methods whose drafter is a model."""
WHOLE = ("ngram_gpu", "suffix", "medusa")
"""Methods whose drafter asserts that it drafts all that it can; what is verified is chosen."""
_log = logging.getLogger("vllm.crossdock")


def driver_of(config: Any, max_draft: int) -> Driver | None:
    """The driver of an engine's policy; None, with one warning, where it cannot be controlled."""
    try:
        reason = refusal(config, max_draft)
        if reason is None:
            core.require()
            driver = Driver(policy_of(config, max_draft), max_draft, warn)
            driver.observers.extend(
                observers_of(driver, config.parallel_config.data_parallel_index)
            )
            return driver
    except Exception as error:  # noqa: BLE001 - whatever it is, the engine starts
        reason = f"{type(error).__name__}: {error}"
    warn(f"{reason}; vLLM speculates as it would without crossdock")
    return None


def refusal(config: Any, max_draft: int) -> str | None:
    """Why the speculation of an engine is not controlled; None: it is."""
    speculative = config.speculative_config
    if speculative is None or max_draft < 1:
        return "vLLM was started without --speculative-config, so there is nothing to control"
    if speculative.method not in (*MODEL_FREE, *MODELS):
        known = ", ".join((*MODEL_FREE, *MODELS))
        return f"drafts by {speculative.method} are not known, only by {known}"
    if speculative.parallel_drafting:
        return "a drafter that proposes all tokens at once has no length to choose"
    if speculative.use_multi_module_mtp():
        return "each module of an MTP has a cache, which a shorter draft would leave behind"
    if config.parallel_config.pipeline_parallel_size > 1:
        return "pipeline parallelism has several batches under way, whose plans would mix"
    return None


def policy_of(config: Any, max_draft: int) -> Policy:
    """The policy that the user names, else the controller with what is known of the engine."""
    name = os.environ.get(POLICY)
    if name:
        module, _, function = name.partition(":")
        made: Policy = getattr(importlib.import_module(module), function)(max_draft)
        return made
    return Controller(max_draft, costs_of(config, warn), settings_of(os.environ.get(SETTINGS)))


def settings_of(text: str | None) -> Settings:
    """What the user has set.

    Raises:
        ArgumentError: it is no JSON, has a name that is not known, or a value out of range.
    """
    try:
        return msgspec.json.decode(text or "{}", type=Settings)
    except msgspec.MsgspecError as error:
        raise ArgumentError(f"{SETTINGS} is {text}: {error}") from error


def observers_of(driver: Driver, rank: int) -> Iterator[Observer]:
    """Who is told of each step: the log, if there is one, and the metrics, if anybody sees them."""
    path = os.environ.get(LOG)
    if path:
        try:
            yield DecisionLog(Path(path), driver.max_draft, rank)
        except OSError as error:
            warn(f"decisions are not logged: {error}")
    export = metrics.exporter(rank)
    if export is not None:
        yield Totals(driver.max_draft, lambda: _state(driver.policy), export)


def _state(policy: Policy | None) -> tuple[bool, float]:
    return policy is not None, float(getattr(policy, "regret", 0.0))


def warn(text: str) -> None:
    """One line in vLLM's log."""
    _log.warning("crossdock: %s", text)
