"""A run of a method, from its folder and its cluster to its report."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.runner import folder, record, report, tasks, text
from crossdock.workloads.runner.cluster import Cluster, connected
from crossdock.workloads.runner.grid import Point, name_of
from crossdock.workloads.runner.options import RunOptions
from crossdock.workloads.runner.record import Failed
from crossdock.workloads.runner.values import Store, Value

Told = Callable[[str, Value | Exception], None]
"""Takes the value of a key, or why there is none."""
EXIT_SOME_FAILED = 3
"""Exit status of a run in which parts failed, and the rest came out."""


class Run:
    """What a method works with. ``start`` makes one."""

    def __init__(self, method: str, options: RunOptions, where: Path, cluster: Cluster) -> None:
        self.options = options
        self.folder = where
        self.cluster = cluster
        self.record = record.record(method, options, cluster)
        self.kept = Store(where / "kept")
        self._console = Console(stderr=True)

    @classmethod
    @contextlib.contextmanager
    def start(cls, method: str, options: RunOptions) -> Iterator[Run]:
        """Begin or resume a run; whatever happens in the block, its record is written at the end.

        Raises:
            FolderRefused: the folder holds something else.
            ClusterAbsent: no Ray cluster answers where one should.
        """
        where = folder.prepare(method, options)
        with connected(options.ray, options.cpus) as cluster:
            run = cls(method, options, where, cluster)
            begin = time.monotonic()
            try:
                yield run
            except BaseException as error:
                run.record.error = f"{type(error).__name__}: {error}"
                raise
            finally:
                run.record.seconds["total"] = time.monotonic() - begin
                run._finish()

    @property
    def status(self) -> int:
        """Exit status: 0, or EXIT_SOME_FAILED."""
        return EXIT_SOME_FAILED if self.record.failed else 0

    @property
    def result(self) -> dict[str, Any]:
        """What goes into the record under ``result``: names to what JSON can say."""
        return self.record.result

    def map(
        self,
        function: Callable[..., Value],
        items: Sequence[Any],
        *,
        keys: Sequence[str],
        versions: Sequence[str] = (),
        shared: Sequence[Any] = (),
        what: str = "parts",
        cpus: float = 1.0,
        gpus: float = 0.0,
    ) -> list[Value | Failed]:
        """What ``function(item, *shared)`` gives for each item, in the order of `items`.

        Each is a Ray task, repeated by Ray where its worker or node dies; each value is kept in the
        folder as it arrives, and not computed again by a run that is resumed. A task that raises
        gives a ``Failed``, which the record lists.

        Args:
            function: importable on every node; its value is a dictionary that can be kept.
            keys: a name for each item, all different: under it the value is kept.
            versions: for each item what tells apart the data that its value comes from, see
                ``values.version_of``: a run that is resumed with other data computes it anew.
            shared: further arguments, sent to each node once.
            what: the plural by which the progress bar calls the items.

        Raises:
            ArgumentError: `keys` does not name each item once.
            ClusterTooSmall, RunStalled: see ``tasks.results``.
        """

        def compute(left: Sequence[tuple[str, Any]], told: Told) -> None:
            for key, given in tasks.results(
                function,
                left,
                shared,
                cluster=self.cluster,
                cpus=cpus,
                gpus=gpus,
                deadline_s=self.options.deadline_s,
            ):
                told(key, given)

        return self._gathered(keys, items, what, compute, versions)

    def study(
        self,
        function: Callable[..., Value],
        points: Sequence[Point],
        *,
        version: str = "",
        shared: Sequence[Any] = (),
        what: str = "trials",
        cpus: float = 1.0,
        gpus: float = 0.0,
    ) -> list[Value | Failed]:
        """What ``function(point, *shared)`` gives for each point of a grid, by Ray Tune.

        As ``map`` has it: values are kept under ``grid.name_of(point)`` as they arrive, a trial
        that raises gives a ``Failed``, and one whose worker dies is repeated.

        Args:
            function: importable on every node; its value is a dictionary that can be kept.
            points: all different; ``grid.grid`` makes those of a product.
            version: of the data that all values come from; see ``map``.
            shared: further arguments, sent to each node once.
            what: the plural by which the progress bar calls the trials.

        Raises:
            ArgumentError: two points have the same name.
            ClusterTooSmall, RunStalled: see ``study.fit``.
        """
        from crossdock.workloads.runner import study

        def compute(left: Sequence[tuple[str, Any]], told: Told) -> None:
            study.fit(
                function,
                left,
                shared,
                told,
                cluster=self.cluster,
                cpus=cpus,
                gpus=gpus,
                deadline_s=self.options.deadline_s,
            )

        versions = [version] * len(points) if version else ()
        return self._gathered([name_of(one) for one in points], points, what, compute, versions)

    def _gathered(
        self,
        keys: Sequence[str],
        items: Sequence[Any],
        what: str,
        compute: Callable[[Sequence[tuple[str, Any]], Told], None],
        versions: Sequence[str] = (),
    ) -> list[Value | Failed]:
        """What is kept, and what `compute` tells of the rest, in the order of `keys`."""
        if len(keys) != len(items) or len(set(keys)) != len(keys):
            raise ArgumentError(f"{len(items)} items need as many different keys, not {keys!r}")
        places = dict(zip(keys, keys, strict=True))
        if versions:
            both = zip(keys, versions, strict=True)
            places = {key: f"{key} of {version}" for key, version in both}
        found: dict[str, Value | Failed] = {
            key: value
            for key, place in places.items()
            if (value := self.kept.get(place)) is not None
        }
        self.record.resumed += len(found)
        left = [pair for pair in zip(keys, items, strict=True) if pair[0] not in found]
        with self.progress(what, len(keys), len(found)) as advance:

            def told(key: str, given: Value | Exception) -> None:
                found[key] = self._taken(key, places[key], given)
                advance()

            compute(left, told)
        return [found[key] for key in keys]

    @contextlib.contextmanager
    def progress(self, what: str, total: int, done: int = 0) -> Iterator[Callable[[], None]]:
        """A bar of `total` steps while the block runs; the function it gives advances it by one."""
        with Progress(console=self._console, transient=True) as bar:
            task = bar.add_task(what, total=total, completed=done)
            yield lambda: bar.advance(task)

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to the record's ``seconds``, under `name`."""
        begin = time.monotonic()
        try:
            yield
        finally:
            took = time.monotonic() - begin
            self.record.seconds[name] = self.record.seconds.get(name, 0.0) + took

    def fail(self, key: str, reason: str) -> Failed:
        """Note that a part gave no value; the rest goes on."""
        failed = Failed(key=key, reason=reason)
        self.record.failed.append(failed)
        return failed

    def table(
        self,
        name: str,
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        *,
        shown: bool = True,
    ) -> None:
        """Print a table where it is `shown`, and put it into record and report."""
        self.record.tables[name] = record.Table(
            columns=list(columns), rows=[list(row) for row in rows]
        )
        if shown:
            text.show(text.table(name, columns, rows))

    def plot(self, name: str, figure: Any) -> None:
        """Save a matplotlib figure into the folder, and put it into the report."""
        file = f"{name.replace(' ', '_')}.png"
        figure.savefig(self.folder / file, dpi=120)
        self.record.plots[name] = file

    def _taken(self, key: str, place: str, value: Value | Exception) -> Value | Failed:
        if isinstance(value, Exception):
            return self.fail(key, f"{type(value).__name__}: {value}")
        self.kept.put(place, value)
        return value

    def _finish(self) -> None:
        self.record.save(self.folder)
        report.write(self.record, self.folder)
        for one in self.record.failed:
            self._say(f"failed: {one.key}: {one.reason}", "red")
        self._say(f"the record of the run is in {self.folder}")

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
