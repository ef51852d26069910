"""Operators: read learners' enrollments, join the files of several tasks, and compare two files."""

from __future__ import annotations

import contextlib
import importlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import (
    XCOM_RETURN_KEY,
    AirflowException,
    AirflowFailException,
    BaseOperator,
)

from connector.airflow.failures import is_retryable, retry_at
from connector.airflow.hook import AlmHook
from connector.airflow.storage import is_remote, local_copy, local_output
from connector.channels.limits import MAX_XCOM_BYTES, fit_into_xcom
from connector.errors import ConnectorError, PartialError, Problem, TemporaryError, UsageError
from connector.output.diff import IGNORED, diff, failed_difference
from connector.output.document import failed_document
from connector.output.merge import merge
from connector.redact import Redactor
from connector.settings import input_names, read_boolean
from connector.settings.values import parse_array
from connector.text import counted, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    from airflow.providers.common.compat.sdk import Context

    from connector.output.document import Document

_CHANGES = ("added", "removed", "changed", "completed", "not_comparable")
# What the events of a task's assets say of its document.
_ASSET_FIELDS = (
    *("output_file", "enrollment_count", "complete", "next_since"),
    *(f"{kind}_count" for kind in _CHANGES),
)
# What a run's document still says if its records are not stored.
_KEPT_IF_UNSTORED = ("source", "completeness", "users")
# 128 and SIGTERM, as shells count it.
_SIGTERM_EXIT_CODE = 143


class _DocumentOperator(BaseOperator):
    """Pushes a document as XCom, also if the task fails.

    The events of its ``outlets`` that are assets have the document's counts, file and
    ``next_since`` as extra.
    """

    _is_running = False
    _failed_document = staticmethod(failed_document)

    def on_kill(self) -> None:
        """End the process, keeping complete users: on SIGTERM, Airflow 3 only calls this method."""
        if self._is_running:
            raise SystemExit(_SIGTERM_EXIT_CODE)

    def _run(
        self, action: Callable[[_Files], tuple[Document, ConnectorError | None]]
    ) -> tuple[Document, str | None]:
        """Run *action* with its files; return its document, and its error's line if it fails."""
        error: ConnectorError | None = None
        unstored = ""
        files = _Files()
        try:
            with files.stack:
                self._is_running = True
                try:
                    document, error = action(files)
                except ConnectorError as raised:
                    document, error = raised.document or self._failed_document(raised), raised
                finally:
                    self._is_running = False
        except TemporaryError as failure:
            if error is None:
                document, error = self._failed_document(failure), failure
            elif isinstance(error, PartialError):
                # The records of the users who were read are not stored: a retry can store them.
                text = f"{error.message} {failure.message}"
                error = failure.replaced(message=text, retry_at=error.retry_at)
                kept = {name: document[name] for name in _KEPT_IF_UNSTORED}
                document = {**self._failed_document(error), **kept}
            else:
                unstored = f" {failure}"
        line = None if error is None else f"{error}{unstored}"
        return files.with_given_paths(document), files.with_given_paths(line)

    def _succeed_or_fail(
        self, action: Callable[[_Files], tuple[Document, ConnectorError | None]], context: Context
    ) -> Document:
        """Return the document of *action*. Raises AirflowFailException, AirflowException."""
        document, error = self._run(action)
        if error is None:
            return self._succeed(document, context)
        self._push_failed(document, context)
        if document["error"]["code"] == TemporaryError.exit_code:
            raise AirflowException(error)
        raise AirflowFailException(error)

    def _succeed(self, document: Document, context: Context) -> Document:
        self._describe_assets(document, context)
        fitted = self._fitted(document)
        if "enrollments" in document and "enrollments" not in fitted:
            raise AirflowFailException(
                f"The document is larger than the {MAX_XCOM_BYTES:,} bytes that XCom takes."
                " Name an output_file: the records go there."
            )
        if "users" in document:
            self.log.info(
                "%s of %s: %s",
                counted(document["enrollment_count"], "enrollment"),
                counted(document["users"]["read"], "user"),
                document["completeness"]["status"],
            )
        else:
            self.log.info(
                "%d added, %d removed, %d changed, %d completed; users not compared: %d",
                *(document[f"{kind}_count"] for kind in _CHANGES),
            )
        return fitted

    def _describe_assets(self, document: Document, context: Context) -> None:
        extra = {name: document[name] for name in _ASSET_FIELDS if name in document}
        for outlet in self.outlets:
            # Others are aliases, or come from Airflow's own lineage.
            if hasattr(outlet, "uri"):
                context["outlet_events"][outlet].extra = extra

    def _push_failed(self, document: Document, context: Context) -> None:
        if self.do_xcom_push:
            context["ti"].xcom_push(key=XCOM_RETURN_KEY, value=self._fitted(document))

    def _fitted(self, document: Document) -> Document:
        """Return *document*, without what exceeds the limit if it becomes an XCom."""
        if not self.do_xcom_push:
            return document
        fitted, left_out = fit_into_xcom(document)
        if left_out:
            file = document["output_file"]
            location = f" Look in {file}, and {file}.users for users who failed." if file else ""
            self.log.warning("Left out of XCom: %s.%s", left_out, location)
        return fitted


class AlmEnrollmentsOperator(_DocumentOperator):
    """Reads every enrollment of learners, and returns the document of ``connector.run`` as XCom.

    Every input of ``schemas/inputs.schema.json`` is a parameter by its name, and a templated
    field. An input that is not given has its default, whatever the worker's environment says; a
    template that becomes empty, or "None", gives nothing. Moments may be datetimes and dates.
    ``user_ids_file`` and ``output_file`` may be paths of object storage, such as
    ``s3://aws_default@bucket/enrollments.ndjson``. Many records need an ``output_file``: XCom
    gets documents of at most 256 KiB. Of a larger one, the id arrays and then ``users.failed``
    become null.

    Raises AirflowFailException if no retry can succeed: wrong inputs, an unknown user, a refused
    token, an output that cannot be written, a response that breaks the API's contract. Raises
    AirflowException for quota, 5xx, timeouts, an unreachable host and an upload that fails, so
    that Airflow retries. If ALM named a moment, the task is deferred until then (it needs a
    triggerer, and occupies no slot of a pool), unless it has a ``retry_policy``. With ``resume``,
    a retry reads only the users who failed.
    """

    template_fields: Sequence[str] = input_names()
    ui_color = "#fbe3e0"

    def __init__(  # noqa: PLR0913 - Airflow reads a task's parameters from here
        self,
        *,
        alm_conn_id: str = AlmHook.default_conn_name,
        user_id: Any = None,  # noqa: ANN401 - an id, several, or the result of an earlier task
        user_email: Any = None,  # noqa: ANN401 - an address, several, or the result of an earlier task
        user_ids_file: str | None = None,
        lo_types: Sequence[str] | str | None = None,
        sort: str | None = None,
        state: str | None = None,
        include: Sequence[str] | str | None = None,
        names: bool | str | None = None,
        locale: str | None = None,
        query: Sequence[str] | str | None = None,
        page_limit: int | str | None = None,
        max_enrollments: int | str | None = None,
        since: date | str | None = None,
        completed_since: date | str | None = None,
        base_url: str | None = None,
        deadline: float | str | None = None,
        allow_incomplete: bool | str | None = None,
        concurrency: int | str | None = None,
        prefetch: bool | str | None = None,
        quota_share: float | str | None = None,
        shard: str | None = None,
        format: str | None = None,  # noqa: A002 - the input's name
        columns: Sequence[str] | str | None = None,
        output_file: str | None = None,
        resume: bool | str | None = None,
        **kwargs: Any,  # noqa: ANN401 - parameters of every task
    ) -> None:
        super().__init__(**kwargs)
        self.alm_conn_id = alm_conn_id
        self.user_id = user_id
        self.user_email = user_email
        self.user_ids_file = user_ids_file
        self.lo_types = lo_types
        self.sort = sort
        self.state = state
        self.include = include
        self.names = names
        self.locale = locale
        self.query = query
        self.page_limit = page_limit
        self.max_enrollments = max_enrollments
        self.since = since
        self.completed_since = completed_since
        self.base_url = base_url
        self.deadline = deadline
        self.allow_incomplete = allow_incomplete
        self.concurrency = concurrency
        self.prefetch = prefetch
        self.quota_share = quota_share
        self.shard = shard
        self.format = format
        self.columns = columns
        self.output_file = output_file
        self.resume = resume

    def execute(self, context: Context) -> Document:
        """Read, and return the document.

        Raises AirflowFailException, AirflowException, TaskDeferred.
        """
        document, error = self._run(self._read)
        if error is None:
            return self._succeed(document, context)
        self._push_failed(document, context)
        if not is_retryable(document):
            raise AirflowFailException(error)
        task, moment = context["ti"], retry_at(document)
        has_retry = task.try_number <= task.max_tries and not getattr(self, "retry_policy", None)
        if has_retry and moment and moment > datetime.now(UTC):
            self.log.warning(
                "%s Deferred until %s; Airflow retries it then.",
                error,
                document["error"]["retry_at"],
            )
            self.defer(
                trigger=_trigger_at(moment),
                method_name=self.fail_when_due.__name__,
                kwargs={"message": error},
            )
        raise AirflowException(error)

    def fail_when_due(
        self,
        context: Context,  # noqa: ARG002 - Airflow passes it by name
        event: object,  # noqa: ARG002 - the same
        # A DAG's own test() passes none.
        message: str = "The time to retry has come.",
    ) -> NoReturn:
        """Fail after the deferral, so that Airflow retries now."""
        raise AirflowException(message)

    def _read(self, files: _Files) -> tuple[Document, None]:
        inputs = {name: getattr(self, name) for name in input_names()}
        if is_remote(self.output_file) and self.output_file == self.user_ids_file:
            problem = Problem("output_file", "also the file of user_ids_file", "a file of its own")
            raise UsageError.of([problem], hint="Nothing was sent.")
        is_resuming = read_boolean(str(self.resume)) is True
        inputs["output_file"] = files.local_output(self.output_file, resume=is_resuming)
        inputs["user_ids_file"] = files.local_copy(self.user_ids_file)
        return AlmHook(self.alm_conn_id).run(**inputs), None


class AlmMergeOperator(_DocumentOperator):
    """Joins the output files of several tasks and their journals, as ``alm-enrollments merge``.

    *files* and *output_file* may be paths of object storage. XCom is the joined document. Raises
    AirflowFailException unless the files are all the shards of one run, or if learners failed in
    them and were not read later; AirflowException if the joined file cannot be stored.
    """

    template_fields: Sequence[str] = ("output_file", "files")
    ui_color = "#fbe3e0"

    def __init__(self, *, output_file: str, files: Any, **kwargs: Any) -> None:  # noqa: ANN401 - paths, or the results of earlier tasks
        super().__init__(**kwargs)
        self.output_file = output_file
        self.files = files

    def execute(self, context: Context) -> Document:
        """Join, and return the document. Raises AirflowFailException, AirflowException."""
        return self._succeed_or_fail(self._join, context)

    def _join(self, files: _Files) -> tuple[Document, ConnectorError | None]:
        problem = None
        paths = self.files
        if isinstance(paths, str):
            # A template without native objects renders a list as text.
            paths = parse_array(paths)
        if not paths:
            rule = "a list of the shards' output files; from a template, with | tojson"
            problem = Problem("files", to_json(self.files), rule)
        elif self.output_file in paths:
            given = f'"{self.output_file}", which is also one of the files to read'
            problem = Problem("output_file", given, "another file")
        if problem:
            raise UsageError.of([problem], hint="Nothing was written.")
        output = files.local_output(self.output_file)
        shards = [files.local_copy(path, with_journal=True) for path in paths]
        return merge([output, *shards], Redactor())


class AlmDiffOperator(_DocumentOperator):
    """Compares two output files, as ``alm-enrollments diff``, and returns its document as XCom.

    *old*, *new* and *output_file* may be paths of object storage; a file's journal is read from
    next to it. *ignore* names fields that do not count as changes. Raises AirflowFailException if
    the files cannot be compared, and AirflowException if the file of changes cannot be stored.
    """

    template_fields: Sequence[str] = ("old", "new", "output_file", "ignore")
    ui_color = "#fbe3e0"
    _failed_document = staticmethod(failed_difference)

    def __init__(
        self,
        *,
        old: str,
        new: str,
        output_file: str | None = None,
        ignore: Sequence[str] | str = IGNORED,
        assume_complete: bool = False,
        **kwargs: Any,  # noqa: ANN401 - parameters of every task
    ) -> None:
        super().__init__(**kwargs)
        self.old = old
        self.new = new
        self.output_file = output_file
        self.ignore = ignore
        self.assume_complete = assume_complete

    def execute(self, context: Context) -> Document:
        """Compare, and return the document. Raises AirflowFailException, AirflowException."""
        return self._succeed_or_fail(self._compare, context)

    def _compare(self, files: _Files) -> tuple[Document, None]:
        old, new = (files.local_copy(path, with_journal=True) for path in (self.old, self.new))
        document = diff(
            old,
            new,
            output_file=self.output_file and files.local_output(self.output_file),
            ignore=self.ignore,
            assume_complete=self.assume_complete,
        )
        return document, None


class _Files:
    """The local files of a task that stand for files of object storage."""

    def __init__(self) -> None:
        #: Leaving it uploads them.
        self.stack = contextlib.ExitStack()
        self._given_paths: dict[str, str] = {}

    def local_output(self, path: Any, *, resume: bool = False) -> Any:  # noqa: ANN401 - the inputs schema validates it
        """Return a local file that becomes the one at *path*.

        Raises OutputError, TemporaryError.
        """
        return self._enter(local_output, path, resume=resume)

    def local_copy(self, path: Any, *, with_journal: bool = False) -> Any:  # noqa: ANN401 - the same
        """Return a local copy of the file at *path*. Raises UsageError, TemporaryError."""
        return self._enter(local_copy, path, with_journal=with_journal)

    def _enter(
        self,
        manager: Callable[..., contextlib.AbstractContextManager[str]],
        path: Any,  # noqa: ANN401 - the same
        **options: bool,
    ) -> Any:  # noqa: ANN401 - the same
        if not is_remote(path):
            return path
        local = self.stack.enter_context(manager(path, **options))
        self._given_paths[local] = path
        return local

    def with_given_paths(self, value: Any) -> Any:  # noqa: ANN401 - any JSON value
        """Return *value* with the paths that were given, in place of the local ones."""
        if isinstance(value, str):
            for local, path in self._given_paths.items():
                value = value.replace(local, path)
            return value
        if isinstance(value, list):
            return [self.with_given_paths(item) for item in value]
        if isinstance(value, dict):
            return {name: self.with_given_paths(item) for name, item in value.items()}
        return value


def _trigger_at(moment: datetime) -> Any:  # noqa: ANN401 - Airflow 2 and 3 have it in different modules
    try:
        temporal = importlib.import_module("airflow.providers.standard.triggers.temporal")
    except ImportError:
        temporal = importlib.import_module("airflow.triggers.temporal")
    return temporal.DateTimeTrigger(moment)
