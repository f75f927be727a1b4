"""`crossdock decompile run`: a script on several ranks, each with a dump, and where these part."""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from crossdock.decompile.cluster import assignment, terminal
from crossdock.decompile.cluster.ending import Run
from crossdock.decompile.cluster.record import Record
from crossdock.decompile.cluster.watching import Watch
from crossdock.decompile.cluster.wording import at, described
from crossdock.decompile.dynamo.channel import Channel
from crossdock.deploy.decompile import member, on_ray, torchrun
from crossdock.deploy.decompile.job import Job, say
from crossdock.proxy.errors import ArgumentError, CrossdockError

RANKS = 2
EXIT_FAILED = 1
EXIT_COULD_NOT_RUN = 2
EXIT_INTERRUPTED = 130
SHOWN_MAX = 5
"""Divergences that are printed at the end; the overview has all."""
_FLAGS = {"--ray", "--torchrun", "--no-ray", "--no-torchrun", "-h", "--help"}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Run a script on several ranks, dump what torch.compile makes of it on each, and compare.

    Warns during the run as soon as ranks compile different things. Exit status: 0 all ranks ended
    well, 1 one did not, 2 it could not be run.
    """

    script: Annotated[Path, tyro.conf.Positional]
    """Python script; what follows it are its own arguments."""
    arguments: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """For the script."""
    ray: bool = False
    """Start the ranks as actors of a Ray cluster."""
    torchrun: bool = False
    """Start the ranks by torchrun on this host; under a torchrun of several hosts, be one of its
    ranks."""
    ranks: Annotated[int | None, tyro.conf.arg(aliases=["-n"])] = None
    """How many; 2, or as many as the torchrun has under which this runs."""
    dir: Path | None = None
    """Folder for the dumps, new or empty; one under dumps/, named by script and time, if not given.
    On other hosts it need not exist: dumps are sent."""
    address: str = "auto"
    """Ray cluster: auto (RAY_ADDRESS or one on this host, else local), local, or HOST:PORT."""
    cpus: float = 1.0
    """Of a rank, as Ray counts them."""
    gpus: float = 0.0
    """Of a rank, as Ray counts them."""
    deadline_s: float = 3600.0
    """For the whole run, seconds; ranks that have not ended then are named, and ended."""
    silence_s: float = 30.0
    """A rank that gives no sign of life, or stands at one line, for so long is named."""
    gather_s: float = 60.0
    """For the dumps to arrive, after the first rank has ended badly, or the last one."""

    def __post_init__(self) -> None:
        if self.ray == self.torchrun:
            raise ArgumentError("give one of --ray and --torchrun, to say how ranks are started")
        for name in ("deadline_s", "silence_s", "gather_s", "cpus"):
            if not getattr(self, name) > 0:
                flag = name.replace("_", "-")
                raise ArgumentError(f"--{flag} {getattr(self, name)} is not above 0; give more")
        if not self.gpus >= 0:
            raise ArgumentError(f"--gpus {self.gpus} is below 0; give 0 or more")
        if self.ranks is not None:
            assignment.check_ranks(self.ranks)


def separated(arguments: Sequence[str]) -> list[str]:
    """The words of a command line, with ``--`` before the script: what follows is not ours."""
    at_word = 0
    while at_word < len(arguments) and arguments[at_word].startswith("-"):
        if arguments[at_word] == "--":
            return list(arguments)
        has_value = arguments[at_word] not in _FLAGS and "=" not in arguments[at_word]
        at_word += 2 if has_value else 1
    own, rest = arguments[:at_word], arguments[at_word:]
    return [*own, "--", *rest] if rest else list(own)


def main(options: Options) -> int:
    """Run it, print where ranks part, return the exit status."""
    try:
        if options.torchrun and member.under_torchrun(os.environ):
            return member.take_part(_job(options, member.world_size(os.environ)))
        return _launch(options, _job(options, options.ranks or RANKS))
    except CrossdockError as error:
        say(str(error))
        return EXIT_COULD_NOT_RUN


def _job(options: Options, ranks: int) -> Job:
    if options.ranks is not None and options.ranks != ranks:
        raise ArgumentError(f"-n {options.ranks}, but torchrun has started {ranks} ranks")
    script = assignment.check_script(options.script)
    name = f"{script.stem}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    return Job(
        script=script,
        arguments=options.arguments,
        ranks=ranks,
        folder=(options.dir or Path("dumps") / name).absolute(),
        deadline_s=options.deadline_s,
        silence_s=options.silence_s,
        gather_s=options.gather_s,
    )


def _launch(options: Options, job: Job) -> int:
    assignment.prepare(job.folder)
    channel = Channel.hosted()
    watch = Watch(channel, job.ranks, job.silence_s, say)
    run = Run(job.folder, "ray" if options.ray else "torchrun", sys.argv)
    try:
        if options.ray:
            resources = on_ray.Resources(options.address, options.cpus, options.gpus)
            on_ray.launch(job, run, watch, channel, resources)
        else:
            torchrun.launch(job, run, watch, channel)
        interrupted = False
    except KeyboardInterrupt:
        run.notes.append("interrupted")
        interrupted = True
    record = run.finish(watch)
    report(record, job.folder)
    return EXIT_INTERRUPTED if interrupted else exit_status(record)


def exit_status(record: Record) -> int:
    """0 if all ranks have ended well."""
    return 0 if all(end.state == "ended" for end in record.ranks) else EXIT_FAILED


def report(record: Record, folder: Path) -> None:
    """Print how ranks ended and where they part."""
    console = Console(stderr=True)
    folders = {end.rank: assignment.rank_folder(folder, end.rank) for end in record.ranks}
    for end in record.ranks:
        if end.state == "ended":
            continue
        last = f"; it compiled last {end.last.function}, {at(end.last)}" if end.last else ""
        file = f" to {folders[end.rank] / end.last_file}" if end.last_file else ""
        doing = f"; it was at {at(end.doing)}" if end.doing else ""
        say(f"rank {end.rank} {end.state}: {end.why}{doing}{last}{file}")
    for note in record.notes:
        say(note)
    if not record.divergences:
        say(f"{len(record.ranks)} ranks have compiled the same; dumps in {folder}")
        return
    terminal.show(console, record.divergences[:SHOWN_MAX], folders)
    say(
        f"ranks part in {len(record.divergences)} compilations, first:"
        f" {described(record.divergences[0])}"
    )
    say(f"`crossdock decompile diff {folder}` shows all of it; dumps in {folder}")
