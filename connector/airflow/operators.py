"""The connector as tasks: read learners' enrollments, and join the files of several tasks."""

from __future__ import annotations

import contextlib
import importlib
import json
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import (
    XCOM_RETURN_KEY,
    AirflowException,
    AirflowFailException,
    BaseOperator,
)

from connector.airflow.failures import can_pass, retry_at
from connector.airflow.hook import AlmHook
from connector.airflow.storage import fetched, is_remote, stored
from connector.errors import ConnectorError, Problem, UsageError
from connector.output.document import build_document
from connector.output.merge import merge
from connector.redact import Redactor
from connector.settings import read_truth
from connector.settings.sources import input_names
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow.providers.common.compat.sdk import Context

    from connector.output.document import Document

#: Bytes of a document that XCom, and so Airflow's database, is given.
MOST_BYTES = 256 * 1024


class _DocumentOperator(BaseOperator):
    """Ends with a document, which is its XCom, also where it fails."""

    _is_at_work = False

    def on_kill(self) -> None:
        """End now, with what is whole in its place: all that Airflow 3 does on SIGTERM is to call this, and to kill some seconds later."""
        if self._is_at_work:
            raise SystemExit(128 + signal.SIGTERM)

    def _outcome(
        self, do: Callable[[_Files], tuple[Document, ConnectorError | None]]
    ) -> tuple[Document, str | None]:
        """Return the document of what *do* does with its files, and the error's one line where it fails."""
        with contextlib.ExitStack() as stack:
            files = _Files(stack)
            self._is_at_work = True
            try:
                document, error = do(files)
            except ConnectorError as failed:
                document, error = (
                    failed.document
                    or build_document([], failed, requested=0, requests=0, allow_incomplete=False),
                    failed,
                )
            finally:
                self._is_at_work = False
        return files.renamed(document, str(error) if error else None)

    def _hand_on(self, document: Document) -> Document:
        size = len(to_json(document))
        if self.do_xcom_push and size > MOST_BYTES:
            raise AirflowFailException(
                f"The document has {size:,} bytes, and XCom is given at most {MOST_BYTES:,}. Name an output_file: the records go there."
            )
        completeness, users = document["completeness"], document["users"]
        self.log.info(
            "%d enrollments of %d users: %s",
            document["enrollment_count"],
            users["read"],
            completeness["status"],
        )
        return document

    def _hand_on_failed(self, document: Document, context: Context) -> None:
        if not self.do_xcom_push:
            return
        size = len(to_json(document))
        if size > MOST_BYTES:
            self.log.warning(
                "XCom is given no document: it has %d bytes, and at most %d are. The journal has it.",
                size,
                MOST_BYTES,
            )
            return
        context["ti"].xcom_push(key=XCOM_RETURN_KEY, value=document)


class AlmEnrollmentsOperator(_DocumentOperator):
    """Reads every enrollment of learners, and returns the output document of CONTRACT.md as XCom.

    Every input of ``schemas/inputs.schema.json`` is a parameter by its name, and a
    templated field; what is not given has its default, whatever the worker's
    environment says. ``user_ids_file`` and ``output_file`` may be paths of object
    storage, such as ``s3://aws_default@bucket/enrollments.ndjson``; records belong
    there where they are many, for XCom is given a document of at most 256 KiB.

    Raises AirflowFailException for what no retry can mend: inputs, an unknown user, a
    refused token, an output that cannot be written, an answer that breaks the API's
    contract. Quota, 5xx, timeouts and an unreachable host raise AirflowException, and
    are retried: not before the moment that ALM named, until which the task is
    deferred (it then needs a triggerer, and holds no slot of a pool), unless it has a
    ``retry_policy``. With ``resume``, a retry asks for those who failed alone.
    """

    template_fields: Sequence[str] = input_names()
    ui_color = "#fbe3e0"

    def __init__(  # noqa: PLR0913 - Airflow reads a task's parameters from here
        self,
        *,
        alm_conn_id: str = AlmHook.default_conn_name,
        user_id: Any = None,  # noqa: ANN401 - an id, several, or what a task before returned
        user_ids_file: str | None = None,
        lo_types: Sequence[str] | str | None = None,
        sort: str | None = None,
        state: str | None = None,
        include: Sequence[str] | str | None = None,
        page_limit: int | str | None = None,
        max_enrollments: int | str | None = None,
        since: str | None = None,
        base_url: str | None = None,
        deadline: float | str | None = None,
        allow_incomplete: bool | str | None = None,
        concurrency: int | str | None = None,
        quota_share: float | str | None = None,
        shard: str | None = None,
        format: str | None = None,  # noqa: A002 - the input's name
        output_file: str | None = None,
        resume: bool | str | None = None,
        **kwargs: Any,  # noqa: ANN401 - a task's own parameters
    ) -> None:
        super().__init__(**kwargs)
        self.alm_conn_id = alm_conn_id
        self.user_id = user_id
        self.user_ids_file = user_ids_file
        self.lo_types = lo_types
        self.sort = sort
        self.state = state
        self.include = include
        self.page_limit = page_limit
        self.max_enrollments = max_enrollments
        self.since = since
        self.base_url = base_url
        self.deadline = deadline
        self.allow_incomplete = allow_incomplete
        self.concurrency = concurrency
        self.quota_share = quota_share
        self.shard = shard
        self.format = format
        self.output_file = output_file
        self.resume = resume

    def execute(self, context: Context) -> Document:
        """Read, and return the document. Raises AirflowFailException, AirflowException, TaskDeferred."""
        document, error = self._read()
        if error is None:
            return self._hand_on(document)
        self._hand_on_failed(document, context)
        if not can_pass(document):
            raise AirflowFailException(error)
        task, moment = context["ti"], retry_at(document)
        is_tried_again = task.try_number <= task.max_tries
        if (
            is_tried_again
            and moment
            and moment > datetime.now(UTC)
            and not getattr(self, "retry_policy", None)
        ):
            self.log.warning(
                "%s Deferred until %s, to be tried again then.",
                error,
                document["error"]["retry_at"],
            )
            self.defer(
                trigger=_at(moment),
                method_name=self.fail_when_due.__name__,
                kwargs={"message": error},
            )
        raise AirflowException(error)

    # A DAG's own test() hands on the event and leaves the message out.
    def fail_when_due(
        self, context: Context, event: object, message: str = "ALM can be asked again."
    ) -> NoReturn:
        """Fail now that another try can succeed: Airflow's own retry comes after it."""
        raise AirflowException(message)

    def _read(self) -> tuple[Document, str | None]:
        inputs = {name: getattr(self, name) for name in input_names()}

        def read(files: _Files) -> tuple[Document, None]:
            inputs["output_file"] = files.stored(
                self.output_file, resume=read_truth(str(self.resume)) is True
            )
            inputs["user_ids_file"] = files.fetched(self.user_ids_file)
            return AlmHook(self.alm_conn_id).run(**inputs), None

        return self._outcome(read)


class AlmMergeOperator(_DocumentOperator):
    """Joins the output files of several tasks, each with its journal beside it, as ``alm-enrollments merge`` does.

    *files* and *output_file* may be paths of object storage. XCom is the joined
    document. Raises AirflowFailException for files that are not all the shards of one
    run, and where learners failed in them and were not read later.
    """

    template_fields: Sequence[str] = ("output_file", "files")
    ui_color = "#fbe3e0"

    def __init__(self, *, output_file: str, files: Any, **kwargs: Any) -> None:  # noqa: ANN401 - paths, or what tasks before returned
        super().__init__(**kwargs)
        self.output_file = output_file
        self.files = files

    def execute(self, context: Context) -> Document:
        """Join, and return the document. Raises AirflowFailException."""

        def join(files: _Files) -> tuple[Document, ConnectorError | None]:
            if not self.files or isinstance(self.files, str):
                raise _refused(
                    f"given {to_json(self.files)} as files", "a list of the shards' output files"
                )
            if self.output_file in self.files:
                raise _refused(
                    f'given "{self.output_file}" to be read and to be written',
                    "a file to write that is none of the shards'",
                )
            target = files.stored(self.output_file)
            return merge(
                [target, *(files.fetched(path, has_journal=True) for path in self.files)],
                Redactor().clean_document,
            )

        document, error = self._outcome(join)
        if error is None:
            return self._hand_on(document)
        self._hand_on_failed(document, context)
        raise AirflowFailException(error)


class _Files:
    """A task's files as local ones, and what they are really called."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._names: dict[str, str] = {}

    def stored(self, path: Any, *, resume: bool = False) -> Any:  # noqa: ANN401 - whatever is given is judged by the inputs schema
        """Return the local file that becomes the one at *path*. Raises OutputError where that cannot be written."""
        return self._entered(stored, path, resume=resume)

    def fetched(self, path: Any, *, has_journal: bool = False) -> Any:  # noqa: ANN401 - the same
        """Return the local file with what is at *path*. Raises UsageError where nothing is."""
        return self._entered(fetched, path, has_journal=has_journal)

    def _entered(
        self,
        manager: Callable[..., contextlib.AbstractContextManager[str]],
        path: Any,
        **options: bool,
    ) -> Any:  # noqa: ANN401
        if not is_remote(path):
            return path
        local = self._stack.enter_context(manager(path, **options))
        self._names[local] = path
        return local

    def renamed(self, document: Document, error: str | None) -> tuple[Document, str | None]:
        """Return both with the paths that were given in place of the local ones."""
        for local, named in self._names.items():
            document = json.loads(
                to_json(document).replace(to_json(local)[1:-1], to_json(named)[1:-1])
            )
            error = error and error.replace(local, named)
        return document, error


def _refused(given: str, allowed: str) -> UsageError:
    return UsageError.of([Problem("merge", given, allowed)], hint="Nothing was written.")


def _at(moment: datetime) -> Any:  # noqa: ANN401 - a trigger, whose class Airflow 2 and 3 keep in different places
    try:
        temporal = importlib.import_module("airflow.providers.standard.triggers.temporal")
    except ImportError:
        temporal = importlib.import_module("airflow.triggers.temporal")
    return temporal.DateTimeTrigger(moment)
