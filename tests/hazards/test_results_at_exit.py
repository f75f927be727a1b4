"""A program ends with results in its global variables, as programs do. It ends quietly."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import torch
from crossdock.ep import Buffer, Config
from crossdock.proxy import Options, ThreadExchange

idx = torch.arange(4).repeat(8, 1)
x = torch.ones(8, 64, dtype=torch.bfloat16)
buffer = Buffer(
    ThreadExchange.group(1)[0],
    Config().get_nvl_buffer_size_hint(1, 1),
    Buffer.get_low_latency_rdma_size_hint(8, 64, 1, 4),
    low_latency_mode=True,
    options=Options(proxy_threads={threads}, pin=False),
)
per_rank, _, per_expert, in_rank, _ = buffer.get_dispatch_layout(idx, 4)
results = buffer.dispatch(
    x,
    num_tokens_per_rank=per_rank,
    num_tokens_per_expert=per_expert,
    is_token_in_rank=in_rank,
    topk_idx=idx,
    topk_weights=torch.ones(8, 4),
)
more = buffer.low_latency_dispatch(x, idx, 8, 4, use_fp8=False)
"""


@pytest.mark.parametrize("threads", [0, 1])
def test_a_program_with_results_ends_quietly(threads: int) -> None:
    program = PROGRAM.format(threads=threads)
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
