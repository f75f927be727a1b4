"""Compiles each kernel that a round launches for a GPU that is not there.

    python -m tests.ep.kernels.compile_only cuda:90 fp8 [FOLDER]
    python -m tests.ep.kernels.compile_only cuda:90 normal [FOLDER]
    python -m tests.ep.kernels.compile_only cuda:90 ones

`ones`: with 1 for each number that is an argument, which Triton then compiles in.

Prints a line for each kernel, with the size of its binary; writes the assembly into the folder.
"""

from __future__ import annotations

import sys
import traceback
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from crossdock.ep import _native
from crossdock.ep.gpu.launch import Launcher
from crossdock.ep.gpu.normal_launch import Agreed, NormalCall, Places, Ways, count_tokens

FORMATS = {"bf16": 0, "fp8": 1, "fp8 rounded": 2, "fp8 ue8m0": 3}
NORMAL_ROWS = (  # their dtype, and the scales of each
    (torch.bfloat16, 0),
    (torch.float32, 0),
    (torch.float8_e4m3fn, 56),
)
_FAR = 1 << 33
PLACES = (  # where rows lie: all in the heap, or some in the inbox
    Places(_FAR, _FAR, _FAR, _FAR),
    Places(_FAR, _FAR, _FAR, _FAR, inbox_meta=_FAR, uses_inbox=True),
)
TARGETS = {
    "cuda:80": GPUTarget("cuda", 80, 32),
    "cuda:90": GPUTarget("cuda", 90, 32),
    "cuda:100": GPUTarget("cuda", 100, 32),
    "hip:gfx942": GPUTarget("hip", "gfx942", 64),
}
_POINTERS = {
    torch.int64: "*i64",
    torch.int32: "*i32",
    torch.int16: "*i16",
    torch.uint8: "*u8",
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
}
_COMPILE_OPTIONS = {"num_warps", "enable_fp_fusion"}
Launch = tuple[JITFunction[Any], tuple[Any, ...], dict[str, Any]]


def launches(target: GPUTarget, form: str) -> list[Launch]:
    """What a dispatch and its combine launch, on 8 ranks with 64 experts."""
    if form == "ones":
        every = launches(target, "normal") + launches(target, "fp8")
        return _different(
            (fn, tuple(a if isinstance(a, torch.Tensor) else 1 for a in args), kwargs)
            for fn, args, kwargs in every
        )
    if form == "normal":
        return _different(
            launch
            for rows in NORMAL_ROWS
            for places in PLACES
            for launch in _recorded_normal(target.backend, *rows, places)
        )
    shape = _native.LowLatencyShape(128, 7168, 64, 8, FORMATS[form])
    return list(_recorded(target.backend, shape))


def _different(all_: Iterable[Launch]) -> list[Launch]:
    """Each kernel once with the same constants and types."""
    found: dict[tuple[Any, ...], Launch] = {}
    for fn, args, kwargs in all_:
        kinds = tuple(a.dtype if isinstance(a, torch.Tensor) else a > 1 << 31 for a in args)
        found.setdefault((fn.__name__, kinds, *sorted(kwargs.items())), (fn, args, kwargs))
    return list(found.values())


def _device(backend: str) -> Any:
    """Rank 1 of 8."""
    words = torch.zeros(256, dtype=torch.int64)
    return types.SimpleNamespace(
        platform=types.SimpleNamespace(
            backend=backend, device=torch.device("cpu"), is_capturing=lambda: False
        ),
        communicator=types.SimpleNamespace(rank=1, size=8),
        num_rings=4,
        ring_slots=4096,
        carried_at=0,
        view=words,
        state=words,
        inbox=object(),
    )


def _recorded_normal(
    backend: str, dtype: torch.dtype, num_scales: int, places: Places
) -> Iterator[Launch]:
    """All kernels of the normal mode, with offsets and strides that need 64 bits."""
    device, tokens, rows, hidden, topk, experts = _device(backend), 4, 6, 7168, 8, 64
    x = torch.zeros((tokens, hidden), dtype=dtype)
    scales = torch.zeros((tokens, num_scales)) if num_scales else None
    idx = torch.zeros((tokens, topk), dtype=torch.int64)
    weights = torch.zeros((tokens, topk))
    rows_bytes, element = hidden * x.element_size(), x.element_size()
    ways = Ways(
        number=torch.zeros(1, dtype=torch.int64),
        first_row=torch.zeros(9, dtype=torch.int64),
        expert_rows=torch.zeros(8, dtype=torch.int64),
        sent=torch.zeros(8, dtype=torch.int32),
        place_of=torch.zeros((tokens, 8), dtype=torch.int32),
    )
    there = Agreed(_native.Call.DISPATCH, rows_bytes, 4 * num_scales, topk, experts, element)
    seen: list[Launch] = []

    def run(fn: JITFunction[Any], *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        seen.append((fn, args, kwargs))

    with mock.patch.object(JITFunction, "run", run):
        per_rank, per_expert, in_rank = count_tokens(device, idx, experts)
        call = NormalCall(device, there, ways)
        call.begin()
        call.plan(in_rank, per_rank)
        call.exchange_headers(per_expert)
        call.exchange_grants(places, rows)
        call.send_rows(x, (idx, weights), scales, places)
        call.unpack_rows(x, (idx, weights), scales, places)
        again = Agreed(
            _native.Call.CACHED_DISPATCH, rows_bytes, 4 * num_scales, 0, experts, element
        )
        call = NormalCall(device, again, ways)
        call.begin()
        call.exchange_grants(places, rows)
        call.send_rows(x, None, scales, places)
        call.unpack_rows(x, None, scales, places)
        if num_scales == 0:
            back = Agreed(_native.Call.COMBINE, rows_bytes, 0, topk, 0, element)
            call = NormalCall(device, back, ways)
            call.begin()
            call.exchange_grants(places, 0)
            call.return_rows(x, rows, weights, places)
            call.sum_rows(x, weights, (x, x), x, weights, places)
    yield from seen


def _recorded(backend: str, shape: _native.LowLatencyShape) -> Iterator[Launch]:
    tokens, device = 4, _device(backend)
    words = device.view
    engine = types.SimpleNamespace(
        low_latency_half_bytes=lambda: 1 << 33,  # so that it is compiled as 64 bits
    )
    seen: list[Launch] = []

    def run(fn: JITFunction[Any], *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        seen.append((fn, args, kwargs))

    with mock.patch.object(JITFunction, "run", run):
        launcher = Launcher(device, engine, shape)  # type: ignore[arg-type]
        begun = launcher.new_round(tokens)
        x = torch.zeros((tokens, shape.hidden), dtype=torch.bfloat16)
        idx = torch.zeros((tokens, shape.topk), dtype=torch.int64)
        weights = torch.zeros((tokens, shape.topk))
        counted = torch.zeros(8, dtype=torch.int32)
        launcher.send(begun, x, idx)
        rows = x if shape.format == 0 else x.view(torch.uint8)[:, : shape.hidden].contiguous()
        scales = None if shape.format == 0 else weights
        launcher.receive(begun, rows, scales, counted, counted, words, counted, words)
        for use_logfmt in (False, True):
            launcher.give_back(begun, x, use_logfmt)
            launcher.reduce(begun, idx, weights, x, words, use_logfmt)
    yield from seen


def compiled(launch: Launch, target: GPUTarget) -> Any:
    """The binary of one launch, or what the compiler raises."""
    fn, args, kwargs = launch
    options = {name: kwargs[name] for name in _COMPILE_OPTIONS & kwargs.keys()}
    values = dict(zip(fn.arg_names, args, strict=False)) | kwargs
    signature, constants, attributes = {}, {}, {}
    for index, (name, parameter) in enumerate(zip(fn.arg_names, fn.params, strict=True)):
        value = values[name]
        if parameter.is_constexpr:
            signature[name] = "constexpr"
            constants[(index,)] = value
        elif not isinstance(value, torch.Tensor) and value == 1:
            signature[name] = "constexpr"  # as a launch does
            constants[(index,)] = value
        elif isinstance(value, torch.Tensor):
            signature[name] = _POINTERS[value.dtype]
            attributes[(index,)] = [["tt.divisibility", 16]]
        else:
            signature[name] = "i32" if abs(value) < 1 << 31 else "i64"
            if value % 16 == 0:
                attributes[(index,)] = [["tt.divisibility", 16]]
    source = ASTSource(fn=fn, signature=signature, constexprs=constants, attrs=attributes)
    return triton.compile(source, target=target, options=options)


def main() -> int:
    """See the module; the number of launches that do not compile."""
    target, failed = TARGETS[sys.argv[1]], 0
    for launch in launches(target, sys.argv[2]):
        name = launch[0].__name__ + (" logfmt" if launch[2].get("LOGFMT") else "")
        try:
            binary = compiled(launch, target)
        except Exception:  # noqa: BLE001 - the compiler raises what it likes; the next one is tried
            failed += 1
            sys.stderr.write(f"{name} does not compile:\n{traceback.format_exc()}\n")
            continue
        kind = "cubin" if target.backend == "cuda" else "hsaco"
        size = len(binary.asm[kind])
        sys.stdout.write(f"{name}: {size} bytes, shared {binary.metadata.shared}\n")
        if len(sys.argv) > 3:
            text = binary.asm["ptx" if target.backend == "cuda" else "amdgcn"]
            (Path(sys.argv[3]) / f"{name}.txt").write_text(text)
    return failed


if __name__ == "__main__":
    sys.exit(main())
