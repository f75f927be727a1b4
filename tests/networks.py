"""The transport between ranks that do not share memory, for tests that hold on any of them.

``CROSSDOCK_TEST_NETWORK=verbs`` runs the same tests over RDMA: in a guest with soft-RoCE NICs
(``make test-rdma``), or over the stand-in for libibverbs (``tests/fake_verbs``).
"""

from __future__ import annotations

import os

NETWORK = os.environ.get("CROSSDOCK_TEST_NETWORK", "tcp")
