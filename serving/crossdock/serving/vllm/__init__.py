"""vLLM on CPUs with experts split over its data-parallel ranks, through crossdock.

``plugin`` holds the entry points, which vLLM calls in each of its processes; they do nothing unless
``CROSSDOCK_VLLM_EP=1``. The other modules import vLLM: only vLLM loads them, by name.
"""
