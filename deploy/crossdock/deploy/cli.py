"""The entry point of the command `crossdock`.

A subcommand is a module with a dataclass `Options` and `main(options) -> int`. Only the module
that was asked for is imported: `crossdock version` must work where torch or a plot library is
broken, and the benches stay strangers to this package.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tyro
from rich.console import Console

from crossdock.deploy import output
from crossdock.proxy.errors import CrossdockError

EXIT_FAILED = 1
EXIT_COULD_NOT_RUN = 2
EXIT_INTERRUPTED = 130
EXIT_READER_LEFT = 141
"""As of a program that SIGPIPE has ended."""


@dataclass(frozen=True)
class Command:
    """A leaf of the command tree: what it does, and the module that does it."""

    summary: str
    module: str
    from_file: bool = False
    """Whether options may come from a TOML file, as all methods have it."""
    has_program: bool = False
    """Whether a program with words of its own may follow, as ``module.separated`` finds it."""


@dataclass(frozen=True)
class Group:
    """A node of the command tree."""

    summary: str
    children: Mapping[str, Command | Group]


def _method(summary: str, package: str, module: str = "command") -> Command:
    return Command(summary, f"crossdock.workloads.{package}.{module}", from_file=True)


COMMANDS = Group(
    "Expert-parallel communication, speculation control and ML methods on one cluster.",
    {
        "demo": Command(
            "Run a dispatch and combine over several processes and check every token.",
            "crossdock.bench.demo",
        ),
        "bench": Group(
            "Measure one layer beside its baselines.",
            {
                "ring": Command("Commands per second and latency.", "crossdock.bench.ring"),
                "transport": Command("Writes of each size.", "crossdock.bench.transport"),
                "ep": Command("Dispatch and combine.", "crossdock.bench.ep"),
                "turbospec-overhead": Command(
                    "What the control of speculation costs an engine.",
                    "crossdock.bench.turbospec_overhead",
                ),
                "turbospec-sim": Command(
                    "Controllers of speculation, in simulated serving.",
                    "crossdock.bench.turbospec_sim",
                ),
                "rank": Command(
                    "Scores of models against their fine-tuned accuracy.", "crossdock.bench.rank"
                ),
                "gpu": Command(
                    "The ring and low latency, with all ranks on one GPU.", "crossdock.bench.gpu"
                ),
                "logme": Command(
                    "A score of a model, beside its formula and training.", "crossdock.bench.logme"
                ),
                "turbospec": Command(
                    "Policies of speculation, on a real vLLM.", "crossdock.bench.turbospec"
                ),
                "dev": Command(
                    "Selectors of models for a target without labels.", "crossdock.bench.dev"
                ),
                "decompile": Command(
                    "Functions of the standard library there and back.",
                    "crossdock.bench.decompile",
                ),
                "decompile-watch": Command(
                    "What it costs a job to be watched while it compiles.",
                    "crossdock.bench.decompile_watch",
                ),
                "b-tuning": Command(
                    "B-Tuning beside its baselines at equal compute.", "crossdock.bench.b_tuning"
                ),
                "conv-bn": Command(
                    "Memory and time of ConvBN blocks, by mode.", "crossdock.bench.conv_bn"
                ),
                "partial-da": Command(
                    "Adaptation to a target with fewer classes, by all methods.",
                    "crossdock.bench.partial_da",
                ),
            },
        ),
        "serve": Group(
            "Serve with speculation that is controlled.",
            {
                "profile": Command(
                    "Measure what an engine's steps cost, for the controller.",
                    "crossdock.deploy.serve.profile",
                ),
                "explain": Command(
                    "Say what the controller decided, and why.",
                    "crossdock.deploy.serve.explain",
                ),
            },
        ),
        "run": Group(
            "Run a method over a Ray cluster.",
            {
                "rank": _method("Rank models for a dataset, by all scores.", "rank"),
                "logme": _method("Score features by the evidence of LogME.", "logme"),
                "b-tuning": _method("Tune a student with the best teachers.", "b_tuning"),
                "dev": _method("Choose a model for a target without labels.", "dev"),
                "lr-decay": _method("Compare constant learning rates with a decay.", "lr_decay"),
                "conv-bn": _method("Find the largest batch, by mode of ConvBN blocks.", "conv_bn"),
                "san": _method(
                    "Adapt to a target with fewer classes, by SAN.", "partial_da", "run_san"
                ),
                "san++": _method(
                    "The same by SAN++, a reconstruction.", "partial_da", "run_san_plus_plus"
                ),
                "etn": _method("The same by ETN.", "partial_da", "run_etn"),
            },
        ),
        "decompile": Group(
            "What torch.compile makes of a program, on one rank or many.",
            {
                "run": Command(
                    "Run a script on several ranks, each with a dump; warn where they part.",
                    "crossdock.deploy.decompile.run",
                    has_program=True,
                ),
                "diff": Command(
                    "Show where ranks compiled different things, line beside line.",
                    "crossdock.deploy.decompile.diff",
                ),
                "explain": Command(
                    "Say why graphs broke and functions were compiled again.",
                    "crossdock.deploy.decompile.explain",
                ),
            },
        ),
        "doctor": Command(
            "Check this host: what was observed, what is expected, how to fix it.",
            "crossdock.deploy.doctor",
        ),
        "explain": Command(
            "Say which rank a job that hangs or has failed waits for, and why.",
            "crossdock.deploy.explain",
        ),
        "version": Command(
            "Print the versions of everything that takes part.", "crossdock.deploy.version"
        ),
    },
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with output.checked():
            return _run(arguments)
    except output.ReaderLeft:
        return EXIT_READER_LEFT
    except CrossdockError as error:
        return _complain(f"{type(error).__name__}: {error}", EXIT_FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted", EXIT_INTERRUPTED)


def _run(arguments: list[str]) -> int:
    prog, node, rest = find("crossdock", COMMANDS, arguments)
    if isinstance(node, Group):
        return _explain(prog, node, rest)
    try:
        module = importlib.import_module(node.module)
    except ImportError as error:
        return _complain(f"{prog} cannot run here: {error}", EXIT_COULD_NOT_RUN)
    if node.from_file:
        from crossdock.workloads.runner import config

        rest = config.expand(rest)
    if node.has_program:
        rest = module.separated(rest)
    options = tyro.cli(module.Options, prog=prog, description=node.summary, args=rest)
    return int(module.main(options))


def find(
    prog: str, node: Command | Group, arguments: list[str]
) -> tuple[str, Command | Group, list[str]]:
    """Follow the leading words down the tree: (words so far, node reached, words left)."""
    while isinstance(node, Group) and arguments and arguments[0] in node.children:
        name, *arguments = arguments
        prog, node = f"{prog} {name}", node.children[name]
    return prog, node, arguments


def _explain(prog: str, group: Group, arguments: list[str]) -> int:
    """The words named no command: print the help, or what is wrong with them."""
    choices = {name: _placeholder(child.summary) for name, child in group.children.items()}
    tyro.extras.subcommand_cli_from_dict(
        choices, prog=prog, description=group.summary, args=arguments or ["--help"]
    )
    return EXIT_COULD_NOT_RUN


def _placeholder(summary: str) -> Callable[[], Any]:
    def choice() -> None: ...

    choice.__doc__ = summary
    return choice


def _complain(message: str, status: int) -> int:
    Console(stderr=True).print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    return status
