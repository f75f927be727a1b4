"""The command tree: what is reached, what is imported, which status comes back."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.programs import run_program

from crossdock.deploy import cli
from crossdock.proxy.errors import CrossdockError


@dataclass(frozen=True)
class Options:
    """Options of a bench that only exists here."""

    json: Path | None = None
    rounds: int = 3
    config: Path | None = None


def fake_bench(monkeypatch: pytest.MonkeyPatch, answer: int | Exception) -> list[Options]:
    """Put a module in the place of `crossdock.bench.ring`; returns the options that it gets."""
    seen: list[Options] = []

    def main(options: Options) -> int:
        seen.append(options)
        if isinstance(answer, Exception):
            raise answer
        return answer

    module = types.ModuleType("crossdock.bench.ring")
    module.__dict__.update(Options=Options, main=main)
    monkeypatch.setitem(sys.modules, "crossdock.bench", types.ModuleType("crossdock.bench"))
    monkeypatch.setitem(sys.modules, "crossdock.bench.ring", module)
    return seen


@pytest.mark.parametrize(
    ("arguments", "module", "rest"),
    [
        (["demo", "--ranks", "4"], "crossdock.bench.demo", ["--ranks", "4"]),
        (["bench", "ep", "--json", "f"], "crossdock.bench.ep", ["--json", "f"]),
        (["bench", "transport"], "crossdock.bench.transport", []),
        (["doctor", "--json"], "crossdock.deploy.doctor", ["--json"]),
        (
            ["run", "b-tuning", "--seed", "1"],
            "crossdock.workloads.b_tuning.command",
            ["--seed", "1"],
        ),
        (["run", "san++"], "crossdock.workloads.partial_da.run_san_plus_plus", []),
        (["bench", "partial-da"], "crossdock.bench.partial_da", []),
    ],
)
def test_words_lead_to_a_module(arguments: list[str], module: str, rest: list[str]) -> None:
    prog, node, left = cli.find("crossdock", cli.COMMANDS, arguments)
    assert isinstance(node, cli.Command)
    assert node.module == module
    assert left == rest
    assert prog.split() == ["crossdock", *arguments[: len(arguments) - len(rest)]]


def test_options_reach_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = fake_bench(monkeypatch, answer=0)
    assert cli.main(["bench", "ring", "--json", "out.json", "--rounds", "7"]) == 0
    assert seen == [Options(json=Path("out.json"), rounds=7)]


def test_options_of_a_method_may_come_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = fake_bench(monkeypatch, answer=0)
    bench = cli.Command("Measure.", "crossdock.bench.ring")
    method = cli.Command("Square.", "crossdock.bench.ring", from_file=True)
    monkeypatch.setattr(cli, "COMMANDS", cli.Group("", {"measure": bench, "square": method}))
    file = tmp_path / "options.toml"
    file.write_text('json = "out.json"\nrounds = 7\n')
    words = ["--config", str(file), "--rounds", "8"]
    assert cli.main(["measure", *words]) == cli.main(["square", *words]) == 0
    assert seen == [
        Options(rounds=8, config=file),
        Options(rounds=8, config=file, json=Path("out.json")),
    ]


def test_status_of_the_command_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_bench(monkeypatch, answer=1)
    assert cli.main(["bench", "ring"]) == 1


def test_typed_error_is_a_message_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_bench(monkeypatch, answer=CrossdockError("region [main] of 65 GiB exceeds 64 GiB"))
    assert cli.main(["bench", "ring"]) == cli.EXIT_FAILED
    assert "CrossdockError: region [main] of 65 GiB exceeds 64 GiB" in capsys.readouterr().err


def test_other_errors_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_bench(monkeypatch, answer=ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        cli.main(["bench", "ring"])


def test_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupted)
    assert cli.main(["demo"]) == cli.EXIT_INTERRUPTED


def test_missing_module_could_not_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "crossdock.bench.ring", None)
    assert cli.main(["bench", "ring"]) == cli.EXIT_COULD_NOT_RUN
    assert "crossdock bench ring cannot run here" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["nope"], ["bench", "nope"], ["version", "--nope"]])
def test_unknown_words_are_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2


@pytest.mark.parametrize("arguments", [[], ["bench"], ["--help"], ["doctor", "--help"]])
def test_help_is_status_0(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert not ended.value.code
    assert "usage: crossdock" in capsys.readouterr().out


def test_version_imports_neither_torch_nor_bench() -> None:
    program = (
        "import json, sys\n"
        "from crossdock.deploy.cli import main\n"
        "main(['version', '--json'])\n"
        "sys.stderr.write(json.dumps([n for n in ('torch', 'crossdock.bench', 'crossdock.ep')"
        " if n in sys.modules]))"
    )
    done = run_program(program)
    assert done.stderr == "[]"
    assert json.loads(done.stdout)["torch"].startswith("2.")
