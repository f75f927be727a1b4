"""What of SGLang the plug-in rests on."""

from __future__ import annotations

from crossdock.serving.contract import Contract, Hook

_DISPATCHERS = "srt/layers/moe/token_dispatcher"

CONTRACT = Contract(
    engine="sglang",
    distributions=("sglang",),
    oldest=(0, 5, 23),
    beyond=(0, 5, 24),
    hooks=(
        Hook(
            "srt/layers/moe/fused_moe_triton/layer.py",
            None,
            "create_moe_dispatcher",
            ("moe_runner_config", "quant_method"),
        ),
        Hook(
            "srt/layers/moe/fused_moe_triton/layer.py",
            None,
            "_get_deepep_comm_group",
            ("a2a_backend",),
        ),
        Hook(
            f"{_DISPATCHERS}/base.py",
            "BaseDispatcher",
            "dispatch",
            ("self", "hidden_states", "topk_output"),
        ),
        Hook(f"{_DISPATCHERS}/base.py", "BaseDispatcher", "combine", ("self", "combine_input")),
        Hook(f"{_DISPATCHERS}/deepep.py", "DeepEPNormalDispatchOutput", "format", ("self",)),
        Hook(
            "srt/plugins/hook_registry.py",
            "HookRegistry",
            "register",
            ("cls", "target", "hook", "hook_type", "source"),
        ),
    ),
)
