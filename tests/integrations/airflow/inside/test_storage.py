"""Records in object storage: written, joined and resumed there, and never lost."""

from __future__ import annotations

import importlib
import json
import signal
from typing import TYPE_CHECKING, Any

import airflow
import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from connector.airflow.operators import AlmEnrollmentsOperator, AlmMergeOperator
from connector.airflow.storage import local_output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Ran, RunDag, StartServer, TimedServer

store = importlib.import_module(
    "airflow.io.store" if airflow.__version__.startswith("2.") else "airflow.sdk.io"
)
USERS = ["20941371", *map(str, range(1000, 1006))]


class Storage(importlib.import_module("fsspec.implementations.memory").MemoryFileSystem):  # type: ignore[misc] # it has no types
    """Keeps in memory what it was given, in what order, and has no room for what a test says."""

    was_put: list[str] = []  # noqa: RUF012 - of the class, as the files of the class above are
    no_room_for = ""

    def put_file(self, lpath: str, rpath: str, **settings: Any) -> None:
        """Put a file, where there is room."""
        name = rpath.rsplit("/", 1)[1]
        if name == self.no_room_for:
            raise OSError(28, "No space left on device", rpath)
        self.was_put.append(name)
        super().put_file(lpath, rpath, **settings)


@pytest.fixture
def memory() -> Iterator[str]:
    """Return an empty folder of storage in memory, reached by a connection, as a bucket is."""
    store.attach("memory", conn_id="aws_default", fs=Storage())
    Storage.store.clear()
    Storage.was_put.clear()
    yield "memory://aws_default@bucket"
    Storage.no_room_for = ""


@pytest.fixture(params=["file", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, memory: str) -> str:
    """Return a folder of object storage: of this machine's files, and in memory."""
    if request.param == "memory":
        return memory
    (tmp_path / "bucket").mkdir()
    return f"file://{tmp_path}/bucket"


def found(folder: str) -> dict[str, bytes]:
    """Return every object in *folder* with what is in it."""
    root = ObjectStoragePath(folder)
    paths = [root / str(path).rsplit("/", 1)[1] for path in root.fs.find(root.path)]
    return {path.name: path.read_bytes() for path in sorted(paths, key=lambda path: path.name)}


def users_in(data: bytes) -> set[str]:
    """Return whose records NDJSON has."""
    return {json.loads(line)["user_id"] for line in data.splitlines()}


def read(folder: str, name: str = "out.ndjson", **inputs: Any) -> Any:
    """Return a function that builds the task that reads *USERS* to *folder*."""
    given = {"user_id": USERS, "format": "ndjson", "output_file": f"{folder}/{name}", **inputs}
    return lambda: AlmEnrollmentsOperator(task_id="read", **given)


def test_local__file_and_journal(run_dag: RunDag, server: TimedServer, tmp_path: Path) -> None:
    """A path of the worker is written by the run itself; the document tells it."""
    ran = run_dag(read(str(tmp_path)))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.ndjson", "out.ndjson.users"]
    assert ran.xcom()["output_file"] == str(tmp_path / "out.ndjson")
    assert ran.xcom()["enrollment_count"] == len(
        (tmp_path / "out.ndjson").read_bytes().splitlines()
    )
    assert "enrollments" not in ran.xcom()
    assert set(server.users) == set(USERS)


def test_remote__as_a_local_file(
    folder: str, run_dag: RunDag, server: TimedServer, tmp_path: Path
) -> None:
    """The object has a local file's records and journal; the document has the path as given."""
    (tmp_path / "local").mkdir()
    local = run_dag(read(str(tmp_path / "local"), concurrency=1))

    ran = run_dag(read(folder, concurrency=1))

    assert found(folder) == {
        path.name: path.read_bytes() for path in sorted((tmp_path / "local").iterdir())
    }
    assert ran.xcom() == {**local.xcom(), "output_file": f"{folder}/out.ndjson"}
    assert len(server.users) % 2 == 0


def test_remote__resumed(folder: str, run_dag: RunDag, server: TimedServer) -> None:
    """A run that resumes asks for nobody whom the object has, and keeps his records."""
    run_dag(read(folder, user_id=USERS[:3], resume=True))
    server.requests.clear()

    ran = run_dag(read(folder, resume="true"))

    assert set(server.users) == set(USERS[3:])
    assert ran.xcom()["users"] == {"requested": len(USERS), "read": len(USERS), "failed": []}
    assert list(found(folder)) == ["out.ndjson", "out.ndjson.users"]
    assert ran.xcom()["enrollment_count"] == len(found(folder)["out.ndjson"].splitlines())


def test_remote__not_resumed(folder: str, run_dag: RunDag, server: TimedServer) -> None:
    """Without resume, the object is made anew, and nothing of the earlier one is left."""
    run_dag(read(folder))
    server.requests.clear()

    run_dag(read(folder, user_id=USERS[:1]))

    assert set(server.users) == {USERS[0]}
    assert users_in(found(folder)["out.ndjson"]) == {USERS[0]}


def test_remote__what_is_whole_is_kept(
    folder: str, run_dag: RunDag, start_server: StartServer
) -> None:
    """A failed run has stored the users it read; the retry reads the others, and no part stays."""
    server = start_server("user=1005:401")
    failed = run_dag(read(folder, concurrency=1, resume=True))
    kept = found(folder)
    server.requests.clear()

    ran = run_dag(read(folder, resume=True))

    assert failed.states == {"read": "failed"}
    assert failed.xcom()["error"]["code"] == 77
    assert list(kept) == ["out.ndjson.part", "out.ndjson.users"]
    assert users_in(kept["out.ndjson.part"]) == set(USERS[:-1])
    assert set(server.users) == {"1005"}
    assert list(found(folder)) == ["out.ndjson", "out.ndjson.users"]
    assert ran.xcom()["users"]["read"] == len(USERS)
    assert ran.xcom()["enrollment_count"] == len(found(folder)["out.ndjson"].splitlines())


@pytest.mark.parametrize(
    ("token", "inputs"), [("refused", {}), ("sandbox-access-token", {"page_limit": 11})]
)
@pytest.mark.parametrize("resume", [False, True])
def test_remote__a_failure_leaves_the_object(
    *,
    resume: bool,
    token: str,
    inputs: dict[str, Any],
    folder: str,
    run_dag: RunDag,
    start_server: StartServer,
) -> None:
    """A run that fails leaves the records of an earlier one as they were."""
    start_server()
    run_dag(read(folder))
    before = found(folder)
    start_server(token=token)

    ran = run_dag(read(folder, user_id=["31"], resume=resume, **inputs))

    assert ran.states == {"read": "failed"}
    assert found(folder)["out.ndjson"] == before["out.ndjson"]


def test_remote__errors_name_the_object(folder: str, run_dag: RunDag, server: TimedServer) -> None:
    """An error about the file tells the object's path, not that of the worker's copy."""
    run_dag(read(folder))
    ObjectStoragePath(f"{folder}/out.ndjson").write_text("changed\n")

    ran = run_dag(read(folder, resume=True))

    told = (
        f'1 input is not valid: output_file is "{folder}/out.ndjson", which was changed since its'
        " journal was written"
        " (allowed: the file as the earlier run left it). Nothing was sent."
        " Without resume it is written anew."
    )
    assert ran.errors == [("AirflowFailException", told)]
    assert told.startswith(ran.xcom()["error"]["message"])
    assert set(server.users) == set(USERS)


def test_remote__the_users_of_an_object(folder: str, run_dag: RunDag, server: TimedServer) -> None:
    """The list of learners may be an object; a missing one is named, and nothing is sent."""
    ObjectStoragePath(f"{folder}/learners.csv").write_text("user_id\n31\n32\n")

    ran = run_dag(read(folder, user_id=None, user_ids_file=f"{folder}/learners.csv"))
    server_users = set(server.users)
    missing = run_dag(read(folder, user_id=None, user_ids_file=f"{folder}/nowhere.csv"), retries=2)

    assert (server_users, ran.xcom()["users"]["read"]) == ({"31", "32"}, 2)
    assert missing.errors == [
        (
            "AirflowFailException",
            (
                f'1 input is not valid: a file is "{folder}/nowhere.csv"'
                " (allowed: an object that is there). Nothing was sent."
            ),
        )
    ]
    assert missing.xcom()["error"]["code"] == 64


def test_remote__records_before_the_journal(
    memory: str, run_dag: RunDag, server: TimedServer
) -> None:
    """Records are stored before the journal that lists them, so that no learner is lost."""
    run_dag(read(memory, user_id=USERS[:3], resume=True))
    assert Storage.was_put == ["out.ndjson", "out.ndjson.users"]
    Storage.no_room_for = "out.ndjson"

    torn = run_dag(read(memory, resume=True))
    Storage.no_room_for = ""
    server.requests.clear()
    run_dag(read(memory, resume=True))

    assert torn.states == {"read": "failed"}
    assert set(server.users) == set(USERS[3:])
    assert users_in(found(memory)["out.ndjson"]) == set(USERS)


def test_remote__without_its_journal(memory: str, run_dag: RunDag, server: TimedServer) -> None:
    """Records without their journal are refused by a run that resumes."""
    run_dag(read(memory, user_id=USERS[:3], resume=True))
    Storage.no_room_for = "out.ndjson.users"

    torn = run_dag(read(memory, resume=True))
    Storage.no_room_for = ""
    ran = run_dag(read(memory, resume=True))

    assert torn.states == {"read": "failed"}
    assert ran.xcom()["error"]["code"] == 64
    assert users_in(found(memory)["out.ndjson"]) == set(server.users)


def test_remote__only_what_has_changed_is_stored(
    memory: str, run_dag: RunDag, server: TimedServer
) -> None:
    """A run that had nothing to do stores the records no second time."""
    run_dag(read(memory))
    Storage.was_put.clear()

    run_dag(read(memory, resume=True))

    assert "out.ndjson" not in Storage.was_put
    assert set(server.users) == set(USERS)


def test_local_output__also_if_the_run_is_killed(memory: str) -> None:
    """Whatever ends a run, a KeyboardInterrupt among it, what it has written is stored."""

    def interrupted() -> None:
        with local_output(f"{memory}/out.ndjson") as local:
            importlib.import_module("pathlib").Path(f"{local}.part").write_text("records\n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert found(memory) == {"out.ndjson.part": b"records\n"}


def test_remote__ended_by_a_signal(memory: str, start_server: StartServer) -> None:
    """Airflow 3 calls on_kill on SIGTERM: it ends the run, and complete users are stored."""
    server = start_server("*:slow/0.4x*")
    task = AlmEnrollmentsOperator(
        task_id="read",
        user_id=[str(number) for number in range(1000, 1012)],
        concurrency=1,
        format="ndjson",
        output_file=f"{memory}/out.ndjson",
    )
    before = signal.signal(signal.SIGALRM, lambda *_: task.on_kill())
    signal.setitimer(signal.ITIMER_REAL, 2)
    try:
        with pytest.raises(SystemExit) as ended:
            task.execute({})
    finally:
        signal.signal(signal.SIGALRM, before)

    assert ended.value.code == 143
    assert sorted(found(memory)) == ["out.ndjson.part", "out.ndjson.users"]
    assert set() < users_in(found(memory)["out.ndjson.part"]) < set(task.user_id)
    assert len(server.requests) < 12


def test_on_kill__of_a_task_that_reads_nothing() -> None:
    """Airflow calls on_kill after a timeout as well: then there is nothing to end."""
    AlmEnrollmentsOperator(task_id="read", user_id="1").on_kill()


@pytest.mark.parametrize(
    "missing", ["file:///nowhere/at/all/out.ndjson", "nosuchstore://bucket/out.ndjson"]
)
def test_remote__cannot_be_written(missing: str, run_dag: RunDag, server: TimedServer) -> None:
    """Where nothing can be written, nothing is asked for, and no retry is made."""
    ran = run_dag(
        lambda: AlmEnrollmentsOperator(
            task_id="read", user_id="20941371", format="ndjson", output_file=missing
        ),
        retries=2,
    )

    ((kind, text),) = ran.errors
    assert kind == "AirflowFailException"
    assert text.startswith(f"The output file {missing} cannot be written: ")
    assert ran.xcom()["error"]["code"] == 73
    assert server.requests == []


def test_remote__is_a_folder(run_dag: RunDag, server: TimedServer, tmp_path: Path) -> None:
    """A folder is none that can be written."""
    ran = run_dag(
        lambda: AlmEnrollmentsOperator(
            task_id="read", user_id="20941371", format="ndjson", output_file=tmp_path.as_uri()
        )
    )

    assert [text.split(":")[2].split(".")[0].strip() for _, text in ran.errors] == [
        "Is a directory"
    ]
    assert server.requests == []


@pytest.mark.parametrize("fails", [True, False])
def test_xcom__where_none_is_wanted(run_dag: RunDag, server: TimedServer, *, fails: bool) -> None:
    """A task whose XCom is not to be pushed pushes none, of failures neither."""
    user = "4041" if fails else "20941371"

    ran = run_dag(lambda: AlmEnrollmentsOperator(task_id="read", user_id=user, do_xcom_push=False))

    assert (ran.states, ran.xcom()) == ({"read": "failed" if fails else "success"}, None)
    assert len(server.requests) == 1


def test_remote__output_is_the_list(memory: str, run_dag: RunDag, server: TimedServer) -> None:
    """An object is not replaced that the run reads its users from."""
    path = f"{memory}/users.ndjson"
    ObjectStoragePath(path).write_text("31\n")

    ran = run_dag(
        lambda: AlmEnrollmentsOperator(task_id="read", user_ids_file=path, output_file=path)
    )

    ((kind, text),) = ran.errors
    assert (kind, found(memory)) == ("AirflowFailException", {"users.ndjson": b"31\n"})
    assert "output_file is also the file of user_ids_file (allowed: a file of its own)" in text
    assert server.requests == []


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (["{0}/1.ndjson", "{0}/2.ndjson"], 'given "{0}/1.ndjson" to be read and to be written'),
        ("{0}/1.ndjson", 'given "{0}/1.ndjson" as files'),
        ("['{0}/1.ndjson', '{0}/2.ndjson']", 'given "{0}/1.ndjson" to be read and to be written'),
        (None, "given null as files"),
    ],
)
def test_merge__of_no_list_of_others(
    files: Any, told: str, memory: str, run_dag: RunDag, server: TimedServer
) -> None:
    """A merge refuses to write over what it reads, and what is no list of files."""
    shards(memory, run_dag)
    before = found(memory)
    given = (
        [one.format(memory) for one in files]
        if isinstance(files, list)
        else files and files.format(memory)
    )

    ran = joined(run_dag, given, f"{memory}/1.ndjson", retries=1)

    ((kind, text),) = ran.errors
    assert kind == "AirflowFailException"
    assert told.format(memory) in text
    assert found(memory) == before
    assert len(server.requests) > 0


def shards(
    folder: str, run_dag: RunDag, names: tuple[str, ...] = ("1.ndjson", "2.ndjson"), **inputs: Any
) -> list[str]:
    """Read *USERS* in shards to *folder*, and return the files."""
    ran: list[Ran] = [
        run_dag(read(folder, name, shard=f"{n}/{len(names)}", **inputs))
        for n, name in enumerate(names, 1)
    ]
    return [each.xcom()["output_file"] for each in ran]


def joined(run_dag: RunDag, files: Any, output_file: str, **settings: Any) -> Ran:
    """Join *files* to *output_file*."""
    return run_dag(
        lambda: AlmMergeOperator(task_id="read", output_file=output_file, files=files), **settings
    )


@pytest.mark.parametrize("from_storage", [False, True])
@pytest.mark.parametrize("to_storage", [False, True])
def test_merge__as_one_run(
    *,
    from_storage: bool,
    to_storage: bool,
    folder: str,
    run_dag: RunDag,
    server: TimedServer,
    tmp_path: Path,
) -> None:
    """Shards are joined to the records of an undivided run, wherever the files are."""
    (tmp_path / "local").mkdir()
    local = f"file://{tmp_path}/local"
    files = shards(folder if from_storage else str(tmp_path / "local"), run_dag)
    asked = len(server.requests)
    target = f"{folder if to_storage else str(tmp_path / 'local')}/all.ndjson"

    ran = joined(run_dag, files, target)
    whole = run_dag(read(local, "whole.ndjson"))

    merged = found(folder if to_storage else local)
    assert sorted(merged["all.ndjson"].splitlines()) == sorted(
        found(local)["whole.ndjson"].splitlines()
    )
    assert "all.ndjson.users" in merged
    assert ran.xcom()["output_file"] == target
    assert {
        name: ran.xcom()[name] for name in ("users", "enrollment_count", "complete", "error")
    } == {name: whole.xcom()[name] for name in ("users", "enrollment_count", "complete", "error")}
    assert asked == len(server.requests) / 2


def test_merge__files_by_template(folder: str, run_dag: RunDag, server: TimedServer) -> None:
    """Files and target are templates."""
    shards(folder, run_dag)

    ran = joined(
        run_dag,
        ["{{ params.f }}/1.ndjson", "{{ params.f }}/2.ndjson"],
        "{{ params.f }}/all.ndjson",
        params={"f": folder},
    )

    assert ran.states == {"read": "success"}
    assert users_in(found(folder)["all.ndjson"]) == set(server.users)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["1.ndjson"], "merge is without shard 2/2"),
        (["1.ndjson", "1.ndjson"], "merge is without shard 2/2 and given shard 1/2 twice"),
        (
            ["1.ndjson", "nowhere.ndjson"],
            'a file is "{folder}/nowhere.ndjson" (allowed: an object that is there)',
        ),
    ],
)
def test_merge__refused(
    given: list[str], told: str, folder: str, run_dag: RunDag, server: TimedServer
) -> None:
    """What is not every shard once is refused, once, and the target is as it was."""
    files = shards(folder, run_dag)
    joined(run_dag, files, f"{folder}/all.ndjson")
    before = found(folder)

    ran = joined(run_dag, [f"{folder}/{name}" for name in given], f"{folder}/all.ndjson", retries=3)

    assert (ran.states, ran.tries) == ({"read": "failed"}, 1)
    assert ran.errors[0][0] == "AirflowFailException"
    assert told.format(folder=folder) in ran.errors[0][1]
    assert ran.xcom()["error"]["code"] == 64
    assert found(folder) == before
    assert server.requests != []


def test_merge__names_who_failed(folder: str, run_dag: RunDag, server: TimedServer) -> None:
    """Learners who failed in the shards are named, the others joined, and nothing is retried."""
    files = shards(folder, run_dag, user_id=[*USERS, "4041"])

    ran = joined(run_dag, files, f"{folder}/all.ndjson", retries=3)

    assert (ran.states, ran.tries) == ({"read": "failed"}, 1)
    assert ran.errors[0][0] == "AirflowFailException"
    assert ran.errors[0][1].startswith("1 of 8 users could not be read: 4041 (exit code 67).")
    assert [failed["user_id"] for failed in ran.xcom()["users"]["failed"]] == ["4041"]
    assert users_in(found(folder)["all.ndjson"]) == set(server.users) - {"4041"}


def test_merge__document_too_large(run_dag: RunDag, server: TimedServer, tmp_path: Path) -> None:
    """A joined document too large for XCom is not pushed; the error names the first learners."""
    users = ["31", *(f"404{n}" for n in range(1200))]
    run_dag(read(str(tmp_path), user_id=users, concurrency=32, lo_types="jobAid"))

    ran = joined(run_dag, [str(tmp_path / "out.ndjson")], str(tmp_path / "all.ndjson"))

    assert ran.xcom() is None
    assert ran.errors[0][1].startswith("1200 of 1201 users could not be read: 404")
    assert set(server.users) == set(users)
