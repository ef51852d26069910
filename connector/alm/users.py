"""Which user has an e-mail address: the request that asks ALM, and the id in its response."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote

from connector.alm.protocol import read_document, read_request_id
from connector.errors import UserNotFoundError

if TYPE_CHECKING:
    from connector.alm.protocol import Response

_SCHEMA = "users-page"
_MAX_MATCHES = 10
CHECK_ADDRESS = "Check the address, and that `base_url` is the region of this account."


@dataclass(frozen=True, slots=True)
class UserLookup:
    """A request for the users who have the address *email*."""

    base_url: str
    email: str
    has_include: ClassVar[bool] = False

    @property
    def address(self) -> str:
        """The URL with its percent-encoded query."""
        # The environment may hold bytes that are not UTF-8, which Python reads as surrogates.
        email = quote(self.email.encode(errors="surrogatepass"), safe="")
        query = f"page%5Boffset%5D=0&page%5Blimit%5D={_MAX_MATCHES}&sort=id&ids=email:{email}"
        return f"{self.base_url}/primeapi/v2/users?{query}"

    @property
    def subject(self) -> str:
        """What is requested, for messages."""
        return f"user {self.email}"


def read_user_id(lookup: UserLookup, response: Response) -> str:
    """Return the id in the 200 *response* to *lookup*.

    Raises UserNotFoundError unless exactly one user has the address, and as ``read_page`` does.
    """
    document = read_document(response, _SCHEMA, lookup.subject, "a list of users")
    ids: dict[str, None] = {}
    for user in document["data"]:
        email = (user.get("attributes") or {}).get("email")
        # An ALM that does not know the filter would list all users.
        if email is None or email.strip().casefold() == lookup.email.casefold():
            ids[user["id"]] = None
    if len(ids) == 1:
        return next(iter(ids))
    happened = f"No user of ALM has the address {lookup.email}."
    hint = CHECK_ADDRESS
    if ids:
        happened = f"Several users of ALM have the address {lookup.email}: {', '.join(ids)}."
        hint = "Use the id of the right user in `user_id` or `user_ids_file`."
    raise UserNotFoundError(
        happened,
        hint=hint,
        http_status=HTTPStatus.OK,
        request_id=read_request_id(response.headers),
    )
