"""The device code of ``crossdock.ep`` in Triton: one source for NVIDIA, AMD, and Triton's
interpreter, which runs it on CPU tensors against the same rings and proxies.

| file | holds |
|---|---|
| ``system`` | what reaches past the GPU: fences, polling loads, the clock |
| ``view`` | the tables by which kernels find rings, counters and regions |
| ``ring`` | commands into rings |
| ``rows`` | copies of rows by address |
| ``fp8``, ``logfmt`` | formats |
| ``layout`` | where tokens go |
| ``waiting`` | waits for counters |
| ``normal_*`` | messages, dispatch and combine of the normal mode |
| ``low_latency_*`` | dispatch and combine of the low-latency mode |
"""
