"""The connector as tasks: read learners' enrollments, and join the files of several tasks."""

from __future__ import annotations

import contextlib
import importlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import XCOM_RETURN_KEY, AirflowException, AirflowFailException, BaseOperator

from connector.airflow.failures import can_pass, retry_at
from connector.airflow.hook import AlmHook
from connector.airflow.storage import fetched, stored
from connector.document import build_document
from connector.errors import ConnectorError
from connector.inputs import read_truth
from connector.merge import merge
from connector.redact import Redactor
from connector.settings import input_names
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow.providers.common.compat.sdk import Context

    from connector.document import Document

#: Bytes of a document that XCom, and so Airflow's database, is given.
MOST_BYTES = 256 * 1024


class _DocumentOperator(BaseOperator):
    """Ends with a document, which is its XCom, also where it fails."""

    def _hand_on(self, document: Document) -> Document:
        size = len(to_json(document))
        if size > MOST_BYTES:
            raise AirflowFailException(
                f"The document has {size:,} bytes, and XCom is given at most {MOST_BYTES:,}. Name an output_file: the records go there."
            )
        completeness, users = document["completeness"], document["users"]
        self.log.info("%d enrollments of %d users: %s", document["enrollment_count"], users["read"], completeness["status"])
        return document

    def _hand_on_failed(self, document: Document, context: Context) -> None:
        size = len(to_json(document))
        if size > MOST_BYTES:
            self.log.warning("XCom is given no document: it has %d bytes, and at most %d are. The journal has it.", size, MOST_BYTES)
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
        if is_tried_again and moment and moment > datetime.now(UTC) and not getattr(self, "retry_policy", None):
            self.log.warning("%s Deferred until %s, to be tried again then.", error, document["error"]["retry_at"])
            self.defer(trigger=_at(moment), method_name=self.fail_when_due.__name__, kwargs={"message": error})
        raise AirflowException(error)

    # A DAG's own test() hands on the event and leaves the message out.
    def fail_when_due(self, context: Context, event: object, message: str = "ALM can be asked again.") -> NoReturn:  # noqa: ARG002
        """Fail now that another try can succeed: Airflow's own retry comes after it."""
        raise AirflowException(message)

    def _read(self) -> tuple[Document, str | None]:
        inputs = {name: getattr(self, name) for name in input_names()}
        resume = read_truth(str(self.resume)) is True
        with contextlib.ExitStack() as stack:
            local_file = stack.enter_context(stored(self.output_file, resume=resume))

            def read() -> tuple[Document, None]:
                local_ids = stack.enter_context(fetched(self.user_ids_file))
                local = {**inputs, "user_ids_file": local_ids, "output_file": local_file}
                return AlmHook(self.alm_conn_id).run(**local), None

            document, error = _outcome(read)
        return _renamed(document, error, local_file, self.output_file)


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
        with contextlib.ExitStack() as stack:
            target = str(stack.enter_context(stored(self.output_file)))

            def join() -> tuple[Document, ConnectorError | None]:
                files = [str(stack.enter_context(fetched(path, has_journal=True))) for path in self.files]
                return merge([target, *files], Redactor().clean_document)

            document, error = _renamed(*_outcome(join), target, self.output_file)
        if error is None:
            return self._hand_on(document)
        self._hand_on_failed(document, context)
        raise AirflowFailException(error)


def _outcome(do: Callable[[], tuple[Document, ConnectorError | None]]) -> tuple[Document, str | None]:
    """Return the document of what *do* does, and the error's one line where it fails."""
    try:
        document, error = do()
    except ConnectorError as failed:
        document, error = failed.document or build_document([], failed, requested=0, requests=0, allow_incomplete=False), failed
    return document, str(error) if error else None


def _renamed(document: Document, error: str | None, local: str | None, named: str | None) -> tuple[Document, str | None]:
    """Return both with the object's path where they have that of the *local* file which became it."""
    if local is None or named is None or local == named:
        return document, error
    renamed: Document = json.loads(to_json(document).replace(to_json(local)[1:-1], to_json(named)[1:-1]))
    return renamed, error and error.replace(local, named)


def _at(moment: datetime) -> Any:  # noqa: ANN401 - a trigger, whose class Airflow 2 and 3 keep in different places
    try:
        temporal = importlib.import_module("airflow.providers.standard.triggers.temporal")
    except ImportError:
        temporal = importlib.import_module("airflow.triggers.temporal")
    return temporal.DateTimeTrigger(moment)
