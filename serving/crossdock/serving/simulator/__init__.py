"""Serving in virtual time: any policy on any load, judged against every fixed length.

Scheduling is that of vLLM: continuous batching under a budget of tokens, prompts in chunks that
share steps with decodes, a limit of blocks in the KV cache, preemption by recomputation. What a
step lasts comes from figures of hardware and models that are stated in ``models.py``; a policy
sees them only through the lengths of its steps.
"""

from crossdock.serving.simulator.acceptance import Acceptance, Bursts
from crossdock.serving.simulator.engine import Limits, run
from crossdock.serving.simulator.phases import Lengths, Phase, Scenario
from crossdock.serving.simulator.workload import Workload

__all__ = [
    "Acceptance",
    "Bursts",
    "Lengths",
    "Limits",
    "Phase",
    "Scenario",
    "Workload",
    "run",
]
