"""SGLang through crossdock: experts where it is told to use DeepEP, and adaptive speculation.

``plugin`` holds the entry point, which does nothing unless ``CROSSDOCK_SGLANG_EP=1`` or
``CROSSDOCK_TURBOSPEC=1``. The module ``dispatcher`` imports SGLang: only the hook that SGLang calls
loads it.
"""
