"""What a command writes to standard error besides its document: messages and warnings."""

from __future__ import annotations

import logging
import signal
import sys

import pytest

from connector.cli.console import Console
from connector.errors import InterruptedRun, TemporaryError
from connector.output.document import failed_document


@pytest.mark.parametrize(
    ("logger", "expected"),
    [
        ("connector.formats.parquet", "alm-enrollments: warning: null in x"),
        ("connector.alm.client", "alm-enrollments: null in x"),
    ],
)
def test_show_logs__warnings_of_formats(
    logger: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a file lacks is a warning; a retry and the like are messages."""
    with Console({}).show_logs():
        logging.getLogger(logger).warning("null in %s", "x")

    assert capsys.readouterr().err == f"{expected}\n"


def test_show_logs__warnings_of_formats_on_github(capsys: pytest.CaptureFixture[str]) -> None:
    """On GitHub, what a file lacks annotates the run."""
    console = Console({"GITHUB_OUTPUT": "outputs"})
    console.open_channels(None, None)
    with console.show_logs():
        logging.getLogger("connector.formats.xlsx").warning("cut in %s", "x")

    assert capsys.readouterr().err == "::warning title=alm-enrollments::cut in x\n"


@pytest.mark.parametrize(
    ("output_file", "hint"),
    [
        ("out.csv", "out.csv was written before. Run again for the other outputs."),
        (None, "What is on standard output may end in the middle; run it again."),
    ],
)
def test_finish__interrupted(
    output_file: str | None, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal while outputs are written does not make the output file unwritten."""

    def interrupt(*_: object) -> None:
        raise InterruptedRun(signal.SIGTERM)

    monkeypatch.setattr(sys.stdout, "write", interrupt)
    document = {**failed_document(TemporaryError("m", hint="h")), "output_file": output_file}

    with pytest.raises(InterruptedRun) as caught:
        Console({}).finish({**document, "error": None}, None)

    assert caught.value.hint == hint
