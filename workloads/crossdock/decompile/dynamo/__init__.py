"""What ``torch.compile`` makes of Python, dumped as files that run and can be read.

``prepare_debug`` listens to torch's structured trace and to Dynamo's hook for bytecode. Only the
code of FX graphs, for which torch has no hook, is linked by wrapping a function of torch.
"""

from crossdock.decompile.dynamo.compat import install_as_depyf
from crossdock.decompile.dynamo.debugging import debug, install, prepare_debug, uninstall
from crossdock.decompile.dynamo.errors import DumpRefused, DumpUnreadable, NotPrepared
from crossdock.decompile.dynamo.index import Index, load

__all__ = [
    "DumpRefused",
    "DumpUnreadable",
    "Index",
    "NotPrepared",
    "debug",
    "install",
    "install_as_depyf",
    "load",
    "prepare_debug",
    "uninstall",
]
