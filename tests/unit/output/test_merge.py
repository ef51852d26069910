"""Merging in the test's process: the shards of one run become the file of one run, or nothing."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from connector.alm.completeness import Completeness, Status
from connector.errors import OutputError, TemporaryError, UsageError, error_as_dict
from connector.output.file import OutputFile
from connector.output.journal import journal_of, read_entries
from connector.output.merge import merge
from connector.output.results import RunTotals, UserResult, failure_of
from connector.redact import Redactor
from tests.support.clock import VirtualClock
from tests.support.pages import ANSWERED_AT
from tests.support.records import enrollments

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ERROR = error_as_dict(TemporaryError("ALM failed.", hint="Run again."))
INPUTS = {"lo_types": ["course"], "shard": None, "base_url": "sandbox"}
FILES = ("out.json", "out.ndjson", "out.csv", "out.table", "out.json.gz", "out.csv.zst")


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let relative paths be in the test's folder."""
    monkeypatch.chdir(tmp_path)


def write(
    name: str,
    *users: str,
    email: str | None = None,
    failed: str = "",
    failures: Sequence[tuple[str | None, str | None]] = (),
    reasons: tuple[str, ...] = (),
    requested: int = 0,
    resume: bool = False,
    **inputs: Any,
) -> None:
    """Write a finished file of *users* with two records each, and one of each *failed* user.

    Each user that was read has these *reasons*, and was asked for by *email* if there is one. Of
    *failures*, nothing could be read: of each user the id and the address, as far as known.
    """
    inputs = {**INPUTS, **inputs}
    file = OutputFile(Path(name), name.split(".")[1], inputs, Redactor(), VirtualClock())
    totals = RunTotals()
    for _ in file.prepare(resume=resume):
        totals.add_kept()
    for place, user_id in enumerate((*users, *failed.split())):
        buffer = file.new_buffer(has_tally=False)
        buffer.add(enrollments(1 if user_id in failed.split() else 2, user_id))
        if user_id in failed.split():
            file.add_failure(user_id, ERROR)
            file.add_partial(buffer)
            totals.add_failure(place, user_id, ERROR)
        else:
            answered_at = ANSWERED_AT - timedelta(seconds=int(user_id))
            verdict = Completeness(Status.VERIFIED, reasons, 1)
            result = UserResult(user_id, buffer, verdict, None, answered_at, email)
            file.append(result)
            totals.add_kept()
    for failed_id, address in failures:
        file.add_failure(failed_id, ERROR, address)
        totals.add_failure(-1, failed_id, ERROR, address)
    totals.end(requested=requested or totals.finished, requests=1)
    file.finish(totals)


def write_shards(suffix: str = "ndjson") -> tuple[str, str]:
    """Write two shards of two users each, and return their names."""
    write(f"1.{suffix}", "31", "32", shard="1/2")
    write(f"2.{suffix}", "33", "34", shard="2/2")
    return f"1.{suffix}", f"2.{suffix}"


@pytest.mark.parametrize("name", FILES)
def test_merge__is_the_file_of_one_run(name: str) -> None:
    """The merged file and its journal are those of one run; its document counts every user."""
    suffix = name.partition(".")[2]
    shards = write_shards(suffix)
    write(f"one.{suffix}", "31", "32", "33", "34")

    document, error = merge([name, *shards], Redactor())

    assert error is None
    assert Path(name).read_bytes() == Path(f"one.{suffix}").read_bytes()
    merged, one = (list(read_entries(journal_of(Path(file)))) for file in (name, f"one.{suffix}"))
    # Each user ends where it ends in the file of one run, so that a killed merge can be resumed.
    assert merged[1:-1] == one[1:-1]
    assert merged[-1][0] == {**one[-1][0], "requests": 2}
    assert document["users"] == {"requested": 4, "read": 4, "failed": []}
    assert (document["enrollment_count"], document["complete"]) == (8, True)
    assert [len(document[name]) for name in ("enrollment_ids", "resource_grade_ids")] == [8, 8]
    # The earliest answer is that of user 34, and five minutes go before it.
    assert (document["source"], document["next_since"]) == ("sandbox", "2023-06-29T11:54:24.000Z")
    assert document["completeness"] == {
        "status": "verified",
        "reasons": [],
        "pages": 4,
        "requests": 2,
    }


@pytest.mark.parametrize("name", ["out.ndjson", "out.parquet"])
def test_merge__of_users_who_failed(name: str) -> None:
    """Failed users are reported, unless another file has them; their partial records go."""
    suffix = name.partition(".")[2]
    write(f"1.{suffix}", "31", failed="32 4041")
    write(f"2.{suffix}", "32")

    document, error = merge([name, f"1.{suffix}", f"2.{suffix}"], Redactor())

    assert str(error) == (
        "1 of 3 users could not be read: 4041 (exit code 75). The other users were read;"
        " `users.failed` has the error of each. Run again for those users only."
    )
    failed = [{"user_id": "4041", "error": ERROR}]
    assert document["users"] == {"requested": 3, "read": 2, "failed": failed}
    assert document["completeness"]["reasons"] == ["user 4041: ALM failed."]
    assert (document["complete"], document["enrollment_count"]) == (False, 4)
    assert document["next_since"] is None
    write(f"one.{suffix}", "31", "32")
    assert Path(name).read_bytes() == Path(f"one.{suffix}").read_bytes()
    entries = [entry for entry, _ in read_entries(journal_of(Path(name)))]
    assert entries[-2] == failed[0]


def test_merge__of_a_user_who_failed_twice() -> None:
    """A learner who failed in two files, once with leading zeros, is one user who failed."""
    write("1.ndjson", "31", failed="7")
    write("2.ndjson", "32", failed="007")

    document, _ = merge(["out.ndjson", "1.ndjson", "2.ndjson"], Redactor())

    assert document["users"] == {
        "requested": 3,
        "read": 2,
        "failed": [{"user_id": "007", "error": ERROR}],
    }


ADA = "ada@example.com"
BY_ID, BY_ADDRESS, BY_BOTH = ("7", None), (None, "Ada@example.com"), ("7", ADA)


@pytest.mark.parametrize(
    ("failures", "read_later"),
    [
        ((BY_BOTH,), BY_ID),
        ((BY_ID,), BY_BOTH),
        ((BY_ADDRESS,), BY_BOTH),
        ((BY_BOTH, BY_ADDRESS), BY_ID),
        ((BY_ADDRESS, BY_BOTH), BY_ID),
    ],
)
def test_merge__of_an_address_whose_user_was_read(
    failures: Sequence[tuple[str | None, str | None]], read_later: tuple[str, str | None]
) -> None:
    """A user who failed was read later whether the runs named the user by id or by address."""
    for number, (user_id, email) in enumerate(failures):
        write(f"{number}.ndjson", str(number), failures=((user_id, email),))
    write("later.ndjson", read_later[0], email=read_later[1])
    names = [f"{number}.ndjson" for number in range(len(failures))]

    document, error = merge(["out.ndjson", *names, "later.ndjson"], Redactor())

    count = len(failures) + 1
    assert (document["users"], error) == ({"requested": count, "read": count, "failed": []}, None)
    assert document["next_since"]


@pytest.mark.parametrize(
    ("first", "second"), [(BY_BOTH, BY_ID), (BY_ADDRESS, BY_BOTH), (BY_BOTH, BY_ADDRESS)]
)
def test_merge__of_an_address_that_failed_twice(
    first: tuple[str | None, str | None], second: tuple[str | None, str | None]
) -> None:
    """A user who failed once by id and once by address is one user who failed."""
    write("1.ndjson", "0", failures=(first,))
    write("2.ndjson", "32", failures=(second,))

    document, _ = merge(["out.ndjson", "1.ndjson", "2.ndjson"], Redactor())

    failed = [failure_of(second[0], ERROR, second[1])]
    assert document["users"] == {"requested": 3, "read": 2, "failed": failed}


def test_merge__of_an_unknown_address() -> None:
    """An address that no user has is a failed user without an id; remarks name their users."""
    write("1.ndjson", "31", failures=((None, "ada@example.com"),), reasons=("a remark",))
    write("2.ndjson", "32", failures=((None, "ben@example.com"),))

    document, error = merge(["out.ndjson", "1.ndjson", "2.ndjson"], Redactor())

    failed = [
        {"user_id": None, "user_email": f"{name}@example.com", "error": ERROR}
        for name in ("ada", "ben")
    ]
    assert document["users"] == {"requested": 4, "read": 2, "failed": failed}
    assert document["completeness"]["reasons"] == [
        "user 31: a remark",
        *(f"user {name}@example.com: ALM failed." for name in ("ada", "ben")),
    ]
    assert "ada@example.com (exit code 75), ben@example.com (exit code 75)" in str(error)
    entries = [entry for entry, _ in read_entries(journal_of(Path("out.ndjson")))]
    assert entries[-3:-1] == failed


def test_merge__into_a_file_that_is_there() -> None:
    """An earlier file of the same name is replaced, with its users."""
    shards = write_shards()
    write("out.ndjson", "35", "36")

    document, _ = merge(["out.ndjson", *shards], Redactor())

    assert document["users"]["read"] == 4
    assert len(Path("out.ndjson").read_bytes().splitlines()) == 8


class Killed(Exception):  # noqa: N818 - the end of a process, not an error
    """Ends a merge where it is."""


class KillingRedactor(Redactor):
    """Ends the merge before the journal's entry of user 34 is written."""

    def clean_value(self, value: Any) -> Any:
        """Return *value*, or raise."""
        if isinstance(value, dict) and value.get("user_id") == "34":
            raise Killed
        return value


@pytest.mark.parametrize("name", [*FILES, "out.parquet"])
def test_merge__that_was_killed_is_resumed(name: str) -> None:
    """A run with resume continues a merge that was killed: users of the part file are kept."""
    suffix = name.partition(".")[2]
    shards = write_shards(suffix)
    with pytest.raises(Killed):
        merge([name, *shards], KillingRedactor())

    file = OutputFile(Path(name), suffix.split(".")[0], INPUTS, Redactor(), VirtualClock())
    kept = [entry["user_id"] for entry in file.prepare(resume=True)]
    file.abandon()
    write(name, "34", resume=True)

    assert kept == ["31", "32", "33"]
    write(f"one.{suffix}", "31", "32", "33", "34")
    assert Path(name).read_bytes() == Path(f"one.{suffix}").read_bytes()


def test_merge__removes_secrets() -> None:
    """The document of a merged file has no secret in it."""
    shards = write_shards()
    redactor = Redactor()
    redactor.add("out-secret")

    document, _ = merge(["out-secret.ndjson", *shards], redactor)

    assert document["output_file"] == "***.ndjson"


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ([], "merge got no files (allowed: the file to write, then each shard's output file)"),
        (["out.ndjson", "1.ndjson"], "shard 2/2 is missing (allowed: each of the 2 shards once)"),
        (
            ["out.ndjson", "1.ndjson", "1.ndjson"],
            "shard 2/2 is missing and shard 1/2 comes twice (allowed: each of the 2 shards once)",
        ),
        (
            ["out.ndjson", "1.ndjson", "third.ndjson"],
            "the files are the shards 1/2, 2/7 (allowed: shards of one division)",
        ),
        (
            ["out.ndjson", "third.ndjson"],
            "shard 1/7, 3/7, 4/7 and 3 more are missing (allowed: each of the 7 shards once)",
        ),
        (
            ["out.ndjson", "1.ndjson", "undivided.ndjson"],
            "the files are the shards 1/2, none (allowed: shards of one division)",
        ),
        (
            ["out.ndjson", "undivided.ndjson", "other.ndjson"],
            (
                '"other.ndjson" was read with lo_types ["jobAid"],'
                ' "undivided.ndjson" with ["course"]'
                " (allowed: shards of one run)"
            ),
        ),
        (
            ["out.ndjson", "undivided.ndjson", "undivided.ndjson"],
            (
                'user 31 comes twice, the second time in "undivided.ndjson"'
                " (allowed: files without a common user)"
            ),
        ),
        (
            ["1.ndjson", "1.ndjson", "2.ndjson"],
            (
                '"1.ndjson" is a file to read and the file to write'
                " (allowed: a file to write that is not one of the shards)"
            ),
        ),
        (
            ["out.ndjson.gz", "1.ndjson", "2.ndjson"],
            (
                '"1.ndjson" and "out.ndjson.gz" are compressed in different ways'
                " (allowed: names with the same suffix)"
            ),
        ),
        (
            ["out.csv", "1.ndjson", "2.ndjson"],
            (
                '"out.csv" has the suffix of csv, but the shards are ndjson'
                " (allowed: a name with the suffix of ndjson)"
            ),
        ),
        (
            ["out.ndjson", "1.ndjson", "missing.ndjson"],
            '"missing.ndjson" does not exist, or is not a file (allowed: an output file)',
        ),
        (
            ["out.ndjson", "1.ndjson", "copied.ndjson"],
            (
                '"copied.ndjson" has no journal copied.ndjson.users next to it'
                " (allowed: an output file with its journal)"
            ),
        ),
        (
            ["out.html", "page.html"],
            (
                '"page.html" has the format html, which cannot be read back'
                " (allowed: files in another format)"
            ),
        ),
        (
            ["out.ndjson", "resumed.ndjson"],
            (
                '"resumed.ndjson" lacks users (1 of 3)'
                " (allowed: files of complete runs; `resume` completes a run)"
            ),
        ),
        (
            ["out.ndjson", "early.ndjson"],
            (
                '"early.ndjson" lacks users (2 of 4)'
                " (allowed: files of complete runs; `resume` completes a run)"
            ),
        ),
    ],
)
def test_merge__refuses_other_files(names: list[str], problem: str, tmp_path: Path) -> None:
    """Anything but all shards of one run, each once, is refused, and nothing is written."""
    write_shards()
    write("third.ndjson", "31", shard="2/7")
    write("undivided.ndjson", "31")
    write("page.html", "31")
    write("other.ndjson", "31", lo_types=["jobAid"])
    Path("copied.ndjson").write_bytes(Path("2.ndjson").read_bytes())
    write("early.ndjson", "31", failed="4041", requested=4)
    write("resumed.ndjson", "31", failed="32", requested=3)
    write("resumed.ndjson", "32", requested=3, resume=True)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    with pytest.raises(UsageError) as caught:
        merge(names, Redactor())

    assert str(caught.value) == (f"1 input is not valid: {problem}. Nothing was written.")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_merge__of_journals_that_lack_inputs() -> None:
    """An input that only one of the journals has is another input; shards need not have it."""
    for name, user in (("1.ndjson", "31"), ("2.ndjson", "32")):
        file = OutputFile(Path(name), "ndjson", {}, Redactor(), VirtualClock())
        file.append(
            UserResult(user, file.new_buffer(has_tally=False), Completeness(Status.VERIFIED, (), 1))
        )
        file.finish(RunTotals())
    write("3.ndjson", "33")

    document, error = merge(["out.ndjson", "1.ndjson", "2.ndjson"], Redactor())

    assert (document["source"], document["users"]["read"], error) == (None, 2, None)
    problem = r'"3\.ndjson" was read with lo_types \["course"\], "1\.ndjson" with null'
    with pytest.raises(UsageError, match=problem):
        merge(["out.ndjson", "1.ndjson", "3.ndjson"], Redactor())
    problem = r'"1\.ndjson" was read with lo_types null, "3\.ndjson" with \["course"\]'
    with pytest.raises(UsageError, match=problem):
        merge(["out.ndjson", "3.ndjson", "1.ndjson"], Redactor())


def cut_file() -> None:
    """Remove the last byte of the second shard."""
    os.truncate("2.ndjson", Path("2.ndjson").stat().st_size - 1)


def cut_journal() -> None:
    """Tear the last line of the second shard's journal."""
    os.truncate("2.ndjson.users", Path("2.ndjson.users").stat().st_size - 1)


def delete_file() -> None:
    """Delete the second shard, but not its journal."""
    Path("2.ndjson").unlink()


def fill_with_zeros() -> None:
    """Make the second shard what a loss of power may leave of it."""
    Path("2.ndjson").write_bytes(bytes(Path("2.ndjson").stat().st_size))


def lose_user() -> None:
    """Remove a user's line from the journal of the second shard."""
    lines = Path("2.ndjson.users").read_bytes().splitlines(keepends=True)
    Path("2.ndjson.users").write_bytes(b"".join([lines[0], *lines[2:]]))


def break_journal() -> None:
    """Give a user of the second shard a status that there is not."""
    text = Path("2.ndjson.users").read_text("utf-8")
    Path("2.ndjson.users").write_text(text.replace('"verified"', '"proved"', 1), "utf-8")


@pytest.mark.parametrize(
    "change", [cut_file, cut_journal, lose_user, break_journal, delete_file, fill_with_zeros]
)
def test_merge__refuses_a_file_that_no_run_finished(change: Callable[[], None]) -> None:
    """A file that is not as a finished run left it is refused."""
    shards = write_shards()
    change()

    problem = r'"2\.ndjson" is not finished, or was changed.* files of finished runs; `resume` '
    with pytest.raises(UsageError, match=problem):
        merge(["out.ndjson", *shards], Redactor())
    assert not Path("out.ndjson").exists()


def test_merge__of_a_file_that_cannot_be_read() -> None:
    """If a file cannot be read, nothing is written and the exit code is 73."""
    shards = write_shards()
    Path("2.ndjson.users").unlink()
    # Reading this file's beginning is an error for any user.
    Path("2.ndjson.users").symlink_to("/proc/self/mem")

    with pytest.raises(OutputError) as caught:
        merge(["out.ndjson", *shards], Redactor())

    assert str(caught.value) == (
        "out.ndjson cannot be read: Input/output error. Nothing was written."
    )
    assert not Path("out.ndjson").exists()
