"""A scheduler that tells the oracle in the same process how far to draft. Needs vLLM."""

from __future__ import annotations

from typing import Any

from crossdock.serving.vllm.oracle import SCRIPTS
from crossdock.serving.vllm.scheduler import TurboSpecScheduler


class OracleScheduler(TurboSpecScheduler):
    """As the one above; the runner gives the length of drafts to every drafter but this one."""

    def _update_after_schedule(self, scheduler_output: Any) -> None:
        super()._update_after_schedule(scheduler_output)
        SCRIPTS.length = scheduler_output.num_spec_tokens_to_schedule
