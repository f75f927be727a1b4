"""A model that vLLM compiles for CPUs, piece by piece and with its cache, as it does for GPUs."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import torch
from vllm.compilation.decorators import support_torch_compile
from vllm.config import CompilationConfig, CompilationMode, VllmConfig, set_current_vllm_config
from vllm.forward_context import set_forward_context


def config(dump: Path) -> VllmConfig:
    """With the compilation that vLLM leaves out on CPUs, and without fusions for GPUs."""
    made = VllmConfig(compilation_config=CompilationConfig(cudagraph_mode=0))
    compilation = made.compilation_config
    compilation.mode = CompilationMode.VLLM_COMPILE
    compilation.backend = "inductor"
    compilation.splitting_ops = []
    compilation.compile_sizes = []
    compilation.debug_dump_path = dump
    for field in dataclasses.fields(compilation.pass_config):
        if isinstance(getattr(compilation.pass_config, field.name), bool):
            setattr(compilation.pass_config, field.name, False)
    return made


def main(dump: Path) -> None:
    """Compile it and print what it gives for two sizes, beside what it gives uncompiled."""
    made = config(dump)
    torch.manual_seed(0)
    with set_current_vllm_config(made):

        @support_torch_compile(dynamic_arg_dims={"x": 0})
        class Model(torch.nn.Module):
            def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
                super().__init__()
                self.linear = torch.nn.Linear(8, 8)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return torch.relu(self.linear(x)) + x

        model = Model(vllm_config=made, prefix="")
        with torch.no_grad(), set_forward_context(None, vllm_config=made):
            for size in (5, 3):
                x = torch.randn(size, 8)
                close = torch.allclose(model(x), torch.relu(model.linear(x)) + x, atol=1e-5)
                print(f"size {size}: {'same' if close else 'different'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
