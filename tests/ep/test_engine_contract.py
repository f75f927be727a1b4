"""What vLLM and SGLang use of DeepEP is there, and takes what they pass: read from their source.

``make`` puts the sources of the versions in the extra ``engines`` of pyproject.toml into
build/engines. ``CROSSDOCK_ENGINES=/path/to/site-packages`` holds us against others.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import os
import sys
import textwrap
from collections import Counter
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

import pytest
import torch
from tests.ep.engine_calls import ModuleReader, Use, not_followed, read_package

import crossdock.ep
from crossdock.ep.compat import deep_ep_names

ROOT = Path(__file__).parents[2]
SURFACE = deep_ep_names()
FOLDERS = [os.environ.get("CROSSDOCK_ENGINES", str(ROOT / "build" / "engines")), *sys.path]

# Keywords that are not ours, and why nobody misses them.
FORK = "NVFP4, of a fork of DeepEP; only when it is asked for"
NPU = "only on Ascend NPUs"
NPU_IF_THERE = "only on Ascend NPUs, and only if the signature has it"
NOT_OURS = {
    ("vllm", "low_latency_dispatch", "use_nvfp4"): FORK,
    ("vllm", "low_latency_dispatch", "x_global_scale"): FORK,
    ("sglang", "low_latency_dispatch", "use_nvfp4"): FORK,
    ("sglang", "low_latency_dispatch", "x_global_scale"): FORK,
    ("sglang", "low_latency_dispatch", "topk_weights"): NPU,
    ("sglang", "low_latency_dispatch", "use_mxfp4"): NPU_IF_THERE,
    ("sglang", "low_latency_dispatch", "use_mxfp8"): NPU_IF_THERE,
    ("sglang", "dispatch", "use_fp8"): NPU_IF_THERE,
    ("sglang", "dispatch", "use_mxfp4"): NPU_IF_THERE,
    ("sglang", "dispatch", "use_mxfp8"): NPU_IF_THERE,
    ("sglang", "dispatch", "quant_mode"): NPU_IF_THERE,
}

# What must be found, or else the reader has lost its way.
BUFFER_CALLS = {
    "__init__",
    "get_dispatch_layout",
    "dispatch",
    "combine",
    "low_latency_dispatch",
    "low_latency_combine",
    "get_low_latency_rdma_size_hint",
    "get_dispatch_config",
    "get_combine_config",
}
FOUND = {
    "vllm": {
        *(("Buffer", name) for name in BUFFER_CALLS),
        ("Buffer", "set_num_sms"),
        ("Buffer", "low_latency_query_mask_buffer"),
        ("Buffer", "low_latency_clean_mask_buffer"),
        ("Buffer", "get_local_buffer_tensor"),
        ("ElasticBuffer", "__init__"),
        ("ElasticBuffer", "get_theoretical_num_sms"),
        ("ElasticBuffer", "dispatch"),
        ("ElasticBuffer", "combine"),
        ("EPHandle", "num_recv_tokens_per_expert_list"),
        ("EPHandle", "psum_num_recv_tokens_per_scaleup_rank"),
        ("EventOverlap", "event"),
        ("EventOverlap", "current_stream_wait"),
        ("", "ElasticBuffer"),
    },
    "sglang": {
        *(("Buffer", name) for name in BUFFER_CALLS),
        ("Buffer", "capture"),
        ("Buffer", "clean_low_latency_buffer"),
        ("Buffer", "group_size"),
        ("Buffer", "low_latency_mode"),
        ("Buffer", "num_sms"),
        ("Config", "__init__"),
        ("Config", "get_nvl_buffer_size_hint"),
        ("Config", "get_rdma_buffer_size_hint"),
        ("EventOverlap", "current_stream_wait"),
        ("ElasticBuffer", "__init__"),
        ("ElasticBuffer", "dispatch"),
        ("ElasticBuffer", "combine"),
        ("ElasticBuffer", "num_bytes"),
        ("EPHandle", "psum_num_recv_tokens_per_expert"),
        ("EPHandle", "psum_num_recv_tokens_per_scaleup_rank"),
        ("", "Config"),
    },
}


# Names that much else in an engine has as well.
COMMON = {"barrier", "device", "group", "num_experts", "num_sms", "rank"}

# Where an engine uses one of our other names of what the reader could not follow, and what it is:
# classes of ours, or () for something else.
NOT_FOLLOWED: dict[str, dict[tuple[str, str], tuple[str, ...]]] = {
    "vllm": {
        ("all2all", "handle.destroy"): ("Buffer", "ElasticBuffer"),  # from a cache
        ("all2all", "state.buffer.get_local_buffer_tensor"): (),  # of NIXL
        ("all2all", "MoeAlltoAll.combine"): (),
        ("all2all", "self.moe_alltoall.combine"): (),
    },
    "sglang": {
        ("deepep", "event.current_stream_wait"): ("EventOverlap",),  # from stage to stage
        ("deepep_v2", "cls.destroy"): (),
        ("deepep_v2", "self._impl.dispatch"): (),
        ("deepep_v2", "self._impl.combine"): (),
    },
}


@dataclasses.dataclass(frozen=True)
class Engine:
    """The uses of an engine, or why there are none."""

    name: str

    @cache  # noqa: B019 - two engines, as long as the tests run
    def uses(self) -> list[Use]:
        """Read from wherever the engine is."""
        folder = self.folder()
        return [] if folder is None else read_package(folder, SURFACE)

    def folder(self) -> Path | None:
        """Where the engine is."""
        spec = PathFinder.find_spec(self.name, FOLDERS)
        found = None if spec is None else spec.submodule_search_locations
        return Path(next(iter(found))) if found else None


ENGINES = [Engine("vllm"), Engine("sglang")]


def cases() -> list[object]:
    """Each use of each engine, under a name that tells which."""
    numbers: Counter[str] = Counter()
    listed: list[object] = []
    for engine in ENGINES:
        for use in engine.uses():
            name = f"{engine.name}-{use}"
            numbers[name] += 1
            listed.append(
                pytest.param(
                    engine.name, use, id=f"{name}-{numbers[name]}" if use.is_call else name
                )
            )
    return listed


def what_is_wrong(engine: str, use: Use) -> str | None:
    """Why what the engine does would fail with us."""
    if not use.owner:
        return None if use.name in SURFACE else f"deep_ep has no {use.name}"
    kind = SURFACE[use.owner]
    assert isinstance(kind, type)
    if use.name not in attributes_of(kind):
        return f"{use.owner} has no {use.name}"
    if not use.is_call:
        return None
    signature = inspect.signature(getattr(kind, use.name))
    is_method = not isinstance(inspect.getattr_static(kind, use.name), staticmethod)
    ours = [name for name in use.optional if (engine, use.name, name) not in NOT_OURS]
    keywords = dict.fromkeys([*use.keywords, *ours])
    try:
        bind = signature.bind_partial if use.is_partial else signature.bind
        bind(*[None] * (use.num_positional + is_method), **keywords)
    except TypeError as error:
        return f"{use.owner}.{use.name}{signature}: {error}"
    return None


@cache
def attributes_of(kind: type) -> frozenset[str]:
    """What objects of the class have: methods, fields, and what methods assign to ``self``."""
    names = set(dir(kind)) | set(getattr(kind, "__dataclass_fields__", ()))
    for base in kind.__mro__[:-1]:
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(base)))):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and ast.unparse(node.value) == "self"
            ):
                names.add(node.attr)
    return frozenset(names)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_all_that_an_engine_is_known_to_use_is_found(engine: Engine) -> None:
    assert engine.uses(), f"no source of {engine.name} in {FOLDERS[0]}; run `make build/engines`"
    missing = FOUND[engine.name] - {(use.owner, use.name) for use in engine.uses()}
    assert not missing


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_what_is_not_followed_is_known(engine: Engine) -> None:
    folder = engine.folder()
    assert folder is not None
    kinds = [kind for kind in SURFACE.values() if isinstance(kind, type)]
    names = {name for kind in kinds for name in attributes_of(kind) if not name.startswith("_")}
    found = not_followed(folder, engine.uses(), names - COMMON)
    assert found == NOT_FOLLOWED[engine.name].keys()
    for (_, expression), owners in NOT_FOLLOWED[engine.name].items():
        name = expression.rpartition(".")[2]
        for owner in owners:
            use = Use(expression, 0, owner, name, is_call=True)
            assert what_is_wrong(engine.name, use) is None


@pytest.mark.parametrize(("engine", "use"), cases())
def test_what_an_engine_uses_is_ours(engine: str, use: Use) -> None:
    wrong = what_is_wrong(engine, use)
    assert wrong is None, f"{use.path}:{use.line}: {wrong}"


@pytest.mark.parametrize("exception", NOT_OURS, ids="-".join)
def test_exceptions_are_still_needed(exception: tuple[str, str, str]) -> None:
    engine, call, keyword = exception
    uses = next(one for one in ENGINES if one.name == engine).uses()
    assert any(use.name == call and keyword in use.optional for use in uses)
    signatures = [inspect.signature(getattr(crossdock.ep.Buffer, call))]
    assert all(keyword not in signature.parameters for signature in signatures)


def test_names_are_those_that_are_installed() -> None:
    assert set(crossdock.ep.__all__) - {"install_as_deep_ep"} == SURFACE.keys()
    assert SURFACE["topk_idx_t"] is torch.int64


DRIFT = {
    "deep_ep.Bucket()": "deep_ep has no Bucket",
    "Buffer(group, num_lanes=3)": "unexpected keyword argument 'num_lanes'",
    "Buffer()": "missing a required argument: 'group'",
    "Buffer(group).dispatch(x, lanes=3)": "unexpected keyword argument 'lanes'",
    "Buffer(group).dispatch(x, **(dict(lanes=3) if x else {}))": "argument 'lanes'",
    "Buffer(group).combine(x)": "missing a required argument: 'handle'",
    "Buffer.get_dispatch_config(3, 4)": "too many positional arguments",
    "Buffer(group).sprint(x)": "Buffer has no sprint",
    "cache.get_or_create(dict(group=1, lanes=2), Buffer)": "argument 'lanes'",
    "elastic.dispatch(x)[3].foo": None,
    "handle.num_lost_tokens": "EPHandle has no num_lost_tokens",
    "self.buffer.barrier(lanes=1)": "argument 'lanes'",
    "self.buffer.barrier(**anything)": None,
    "event.current_stream_wait(3, 4)": "too many positional arguments",
    "_, later = self.send(elastic); later.current_stream_wait(3, 4)": "too many positional",
}


@pytest.mark.parametrize("code", DRIFT, ids=list(DRIFT))
def test_drift_is_noticed(code: str) -> None:
    source = f"""
    import deep_ep
    from deep_ep import Buffer

    class Layer:
        def __init__(self, buffer: "deep_ep.ElasticBuffer | None"):
            self.buffer = buffer

        def get(self):
            return self.buffer

        def send(self, elastic: deep_ep.ElasticBuffer):
            y, idx, weights, handle, event = elastic.dispatch(x)
            return y, event

        def run(self, x, group, cache, anything):
            elastic = self.get()
            y, idx, weights, handle, event = elastic.dispatch(x)
            {code}
    """
    uses = ModuleReader(textwrap.dedent(source), "layer.py", SURFACE).uses()
    wrong = [text for use in uses if (text := what_is_wrong("vllm", use)) is not None]
    expected = DRIFT[code]
    assert len(wrong) == (expected is not None), wrong
    assert expected is None or expected in wrong[0]
