"""The GPU as the device of a Buffer: memory that both sides see, and the calls that launch
``crossdock.ep.kernels``."""
