"""What of SGLang the control of speculation rests on."""

from __future__ import annotations

from crossdock.serving.contract import Contract, Hook

_PARAMS = "srt/speculative/adaptive_spec_params.py"
_CLASS = "AdaptiveSpeculativeParams"
_RUNTIME = "srt/speculative/adaptive_runtime_state.py"

CONTRACT = Contract(
    engine="sglang",
    distributions=("sglang",),
    oldest=(0, 5, 23),
    beyond=(0, 5, 24),
    hooks=(
        Hook(_PARAMS, _CLASS, "get_steps_for_batch", ("self", "batch_size")),
        Hook(
            _PARAMS,
            _CLASS,
            "on_verify_complete",
            ("self", "num_correct_drafts_per_req", "batch_size"),
        ),
        Hook(_PARAMS, _CLASS, "_route", ("self", "batch_size")),
        Hook(_PARAMS, _CLASS, "candidate_steps", ("self",)),
        Hook(_RUNTIME, "AdaptiveController", "activate_step_by_batch", ("self", "batch_size")),
        Hook(
            "srt/plugins/hook_registry.py",
            "HookRegistry",
            "register",
            ("cls", "target", "hook", "hook_type", "source"),
        ),
    ),
)
