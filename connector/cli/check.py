"""Try everything that a run needs with a read of one record, and estimate a complete read."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from connector.alm.rate_limit import ASSUMED
from connector.alm.records import read_enrollments
from connector.cli.progress import format_duration
from connector.clock import Deadline
from connector.runner.all_users import within_deadline
from connector.runner.connection import open_client, request_for
from connector.settings import SANDBOX
from connector.settings.users import read_user_ids

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from connector.clock import Clock
    from connector.redact import Redactor
    from connector.settings import Credentials, Inputs

# How many enrollments a user has is not known before they are read: few, some and many.
_ENROLLMENTS_PER_USER = (10, 50, 200)
_MINUTE = 60


def check(
    inputs: Inputs, credentials: Credentials, redactor: Redactor, *, clock: Clock, stdin: TextIO
) -> Iterator[str]:
    """Yield a line for everything that works. Raises the ConnectorError of the first that fails."""
    deadline = Deadline(clock, inputs.deadline)
    users = read_user_ids(inputs, stdin)

    def read_list() -> tuple[str | None, int]:
        first = next(users.ids, None)
        # A pipe is read to its end to be counted.
        counted = (first is not None) + sum(1 for _ in users.ids)
        return first, counted if users.total is None else users.total

    first, total = within_deadline(read_list, deadline)
    counted = _count(total, "user")
    lo_types = ", ".join(inputs.lo_types)
    yield f"inputs     valid: {counted}; {lo_types}; sort {inputs.sort}; {inputs.base_url}"
    if first is None:
        yield "           none of the users is in this shard: nothing was asked"
        return
    client = open_client(inputs, credentials, redactor, deadline)
    request = request_for(first, replace(inputs, page_limit=1))
    try:
        started_at = clock.monotonic()
        page = within_deadline(lambda: client.fetch(request), deadline)
        milliseconds = (clock.monotonic() - started_at) * 1000
    finally:
        client.close()
    yield f"token      {'none needed' if inputs.base_url == SANDBOX else 'accepted'}"
    quota = client.quota or ASSUMED
    words = f"{quota.rate * _MINUTE:g} requests a minute, burst {quota.burst:g}"
    yield f"quota      {'' if client.quota else 'not told by ALM; taken to be '}{words}"
    read = _count(len(read_enrollments(page)), "enrollment")
    more = "more follow" if page.next_link else "no more follow"
    yield (
        f"read       {read} of user {first} in {milliseconds:.0f} ms, {more};"
        f" request id {page.request_id}"
    )
    for enrollments in _ENROLLMENTS_PER_USER:
        requests = total * math.ceil(enrollments / inputs.page_limit)
        seconds = quota.share(inputs.quota_share).seconds_for(requests)
        line = (
            f"full read  {counted} of {enrollments} enrollments: {_count(requests, 'request')},"
            f" at least {format_duration(seconds)} at this quota"
        )
        if seconds > inputs.deadline:
            line += f": longer than the deadline of {inputs.deadline:g} s"
        yield line


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
