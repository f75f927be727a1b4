"""SGLang's expert parallelism through crossdock, where it is told to use DeepEP.

``plugin`` holds the entry point, which does nothing unless ``CROSSDOCK_SGLANG_EP=1``. The module
``dispatcher`` imports SGLang: only the hook that SGLang calls loads it.
"""
