"""What the handle of a dispatch on a GPU holds."""

from __future__ import annotations

from collections.abc import Callable

from crossdock.ep.gpu.normal_launch import Ways


class Route:
    """Where the rows of a dispatch went; most of it only the device knows.

    Args:
        rows: of the results.
        returned: rows of other ranks that a combine gets at most.
        synchronize: waits for the GPU.
        first_row: what the property is, when it is known.
    """

    def __init__(
        self,
        ways: Ways,
        rows: int,
        returned: int,
        synchronize: Callable[[], None],
        first_row: list[int] | None = None,
    ) -> None:
        self.ways = ways
        self.rows = rows
        self.returned = returned
        self.num_tokens = ways.place_of.shape[0]
        self._synchronize = synchronize
        self._first_row = first_row

    @property
    def first_row(self) -> list[int]:
        """Of each source rank, and one past the last; waits for the GPU the first time."""
        if self._first_row is None:
            self._synchronize()
            self._first_row = self.ways.first_row.tolist()
        return self._first_row

    @property
    def num_recv(self) -> int:
        """Rows that came."""
        return self.first_row[-1]

    @property
    def complete(self) -> bool:
        """The device knows, and refuses a handle of a dispatch that failed."""
        return True

    @property
    def is_known(self) -> bool:
        """Whether ``first_row`` needs no waiting."""
        return self._first_row is not None

    def with_rows(self, rows: int) -> Route:
        """The same, for results with so many rows."""
        return Route(self.ways, rows, self.returned, self._synchronize, self._first_row)
