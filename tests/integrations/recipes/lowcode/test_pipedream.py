"""Pipedream's step, run with a stand-in of the object that Pipedream hands it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .conftest import EXAMPLES, example, newest_first

if TYPE_CHECKING:
    from .conftest import RunPython

STEP = EXAMPLES / "pipedream" / "enrollments.py"
AS_PIPEDREAM = f"""
import json, runpy, sys, types
pd = types.SimpleNamespace(steps={{"trigger": {{"event": {{"body": json.load(sys.stdin)}}}}}})
print(json.dumps(runpy.run_path({str(STEP)!r})["handler"](pd)))
"""


def test_handler__is_the_document(reaching: dict[str, str], run_python: RunPython) -> None:
    """The step's export is the document, read with the token of the project's variables."""
    document = run_python(
        AS_PIPEDREAM, {"user_id": "20941371", "since": "2023-06-20"}, reaching
    ).document

    assert sorted(document["enrollment_ids"]) == sorted(newest_first(since="2023-06-20"))


def test_handler__reads_everything_without_since(
    reaching: dict[str, str], run_python: RunPython
) -> None:
    """An event that names the learner alone brings every enrollment, and the proof that it is every one."""
    document = run_python(AS_PIPEDREAM, {"user_id": "20941371"}, reaching).document

    assert sorted(document["enrollment_ids"]) == sorted(newest_first())
    assert document["completeness"]["status"] == "proved"


def test_handler__what_it_raises_fails_the_step(
    reaching: dict[str, str], run_python: RunPython
) -> None:
    """A learner whom ALM does not know fails the step with a message that says so."""
    raised = run_python(AS_PIPEDREAM, {"user_id": "4041"}, reaching).raised

    assert raised.startswith("connector.errors.UserNotFoundError: ALM knows no user 4041")


def test_package__is_named_for_what_is_imported() -> None:
    """The comment by which Pipedream installs stands right above the import that it is for."""
    assert "# pipedream add-package alm-enrollments-connector\nimport connector\n" in example(
        "pipedream/enrollments.py"
    )
