"""`crossdock serve explain`."""

from pathlib import Path

import pytest
from tests.serving.turbospec.test_decisions import LINE, written

from crossdock.deploy.cli import main

PNG = b"\x89PNG\r\n"


def test_it_says_what_was_decided_and_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    off = LINE | {"draft_length": 0, "reason": "off", "time": 101.0, "tokens": 20}
    path = written(tmp_path, LINE, off)
    assert main(["serve", "explain", str(path)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "70 tokens in 1.0 busy seconds, 8 steps: 70.0 tokens/s" in said
    assert "the length changed 1 times" in said
    assert "off: no length promised more than not to speculate 50.0% 4 40.0" in said
    assert "1 62.5%" in said


def test_it_draws(tmp_path: Path) -> None:
    lines = [LINE | {"time": 100 + i, "rank": i % 2} for i in range(6)]
    path = written(tmp_path, *lines, LINE | {"draft_length": None, "predicted_tokens": None})
    assert main(["serve", "explain", str(path), "--plot", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["{folder}/none"], "CROSSDOCK_TURBOSPEC_LOG=FILE writes one"),
        (["{log}", "--plot", "{folder}/a.xyz"], "end it in one of"),
        (["{log}", "--plot", "{folder}/no/a.png"], "is in no folder"),
    ],
)
def test_bad_input_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    log = written(tmp_path, LINE)
    given = [a.format(folder=tmp_path, log=log) for a in arguments]
    try:
        status = main(["serve", "explain", *given])
    except SystemExit as left:
        status = int(str(left.code))
    assert status != 0
    assert text in " ".join(capsys.readouterr().err.split())
