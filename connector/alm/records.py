"""JSON:API resources to flat, typed records; ids are split and checked against the relationships.

Records are msgspec structs: immutable as a frozen dataclass, built faster, and serialized without
a copy. Python's garbage collector need not visit them: what JSON becomes has no cycles.
"""

from __future__ import annotations

import re
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from connector.errors import ProtocolError
from connector.settings import NAME_FIELDS, is_named
from connector.text import quoted, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from connector.alm.protocol import Page

Resource = dict[str, Any]
# "Get enrollments of a user" in Adobe's manual: course:6511020_7037048_20941371 is
# TYPE:learningObject_instance_user; a grade's id has module and version before the user. Instance
# and module of a job aid are -1.
_ENROLLMENT_ID = re.compile(r"((([A-Za-z]+):[0-9]+)_(?:[0-9]+|-1))_([0-9]+)")
_RESOURCE_GRADE_ID = re.compile(r"[A-Za-z]+:[0-9]+_(?:[0-9]+|-1)_([0-9]+|-1)_([0-9]{1,18})_[0-9]+")
_TYPE_PREFIX = re.compile(r"[A-Za-z]+(?=:)")
_GRADES = "loResourceGrades"
# What `include` brings is written out for each enrollment and path. A page of any size fits,
# but resources that link to each other, or that all enrollments share, would multiply.
MAX_LINKS = 5_000
MAX_INCLUDED_BYTES = 4 * 1024 * 1024
MAX_INCLUDED_BYTES_OF_PAGE = 32 * 1024 * 1024
# Doubles have every integer up to here (RFC 8259, 6).
_MAX_EXACT = 2**53
_Name = str | UnsetType | None
_Number = Annotated[int, Meta(ge=-_MAX_EXACT, le=_MAX_EXACT)] | float | None


class _Attributes(Struct, rename="camel", gc=False):
    """What the connector uses of an enrollment's attributes."""

    state: str | None = None
    progress_percent: _Number = None
    has_passed: bool | None = None
    score: _Number = None
    enrollment_source: str | None = None
    date_enrolled: str | None = None
    date_started: str | None = None
    date_completed: str | None = None
    completion_deadline: str | None = None
    last_access_date: str | None = None
    rating: _Number = None
    purchased_price: _Number = None
    url: str | None = None


class _GradeAttributes(Struct, rename="camel", gc=False):
    """What the connector uses of a resource grade's attributes."""

    progress_percent: _Number = None
    has_passed: bool | None = None
    score: _Number = None
    highest_score: _Number = None
    max_score: _Number = None
    duration: _Number = None
    date_started: str | None = None
    date_completed: str | None = None
    date_success: str | None = None
    completed: bool | None = None


class ResourceGrade(Struct, frozen=True, gc=False):
    """A learner's grade in one module; ``None`` for a part that the id does not have."""

    id: str
    module_id: str | None
    module_version: int | None


class IncludedResourceGrade(Struct, frozen=True, gc=False):
    """A grade with its attributes, as ``include`` brings them; *duration* in seconds.

    *module_name* is set if the modules are included.
    """

    id: str
    module_id: str | None
    module_version: int | None
    progress_percent: float | None
    has_passed: bool | None
    score: float | None
    highest_score: float | None
    max_score: float | None
    duration: float | None
    date_started: str | None
    date_completed: str | None
    date_success: str | None
    completed: bool | None = None
    module_name: _Name = UNSET


class Enrollment(Struct, frozen=True, omit_defaults=True, gc=False):
    """A learner's enrollment in one instance of a learning object; ``None`` if ALM sent nothing.

    Dates are as ALM writes them. The names are set if their resources are included. An enrollment
    is not *is_decoded* if its id has another shape than ALM documents.
    """

    id: str
    user_id: str
    lo_id: str | None
    lo_type: str | None
    lo_instance_id: str | None
    state: str | None
    progress_percent: float | None
    has_passed: bool | None
    score: float | None
    enrollment_source: str | None
    date_enrolled: str | None
    date_started: str | None
    date_completed: str | None
    completion_deadline: str | None
    last_access_date: str | None
    rating: float | None
    purchased_price: float | None
    url: str | None
    lo_name: _Name
    user_name: _Name
    user_email: _Name
    resource_grades: tuple[ResourceGrade | IncludedResourceGrade, ...]
    included: dict[str, Any] | None = None
    is_decoded: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Return the enrollment as the output document has it; ``included`` only if not None."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        values["resource_grades"] = list(values["resource_grades"])
        values.pop("is_decoded", None)
        return values


FIELDS = Enrollment.__struct_fields__
_Kind = TypeVar("_Kind", _Attributes, _GradeAttributes)


class _Included:
    """What ``include`` brings: the paths but that of the grades, and the page's resources.

    *names* are those of NAME_FIELDS that are included.
    """

    def __init__(
        self, page: Page, include: Sequence[str], related: Sequence[str], locale: str
    ) -> None:
        requested = (*include, *related)
        self.paths = tuple(path for path in include if path != _GRADES)
        self.has_grades = any(path.split(".")[0] == _GRADES for path in requested)
        self.names = frozenset([name for name in NAME_FIELDS if is_named(name, requested)])
        self._locale = locale.lower()
        self.resources = {
            (resource["type"], resource["id"]): resource for resource in page.included
        }
        self.page = page
        self._sizes: dict[tuple[str, str], int] = {}
        self._bytes_of_page = 0

    def of(self, enrollment: Resource) -> dict[str, Any]:
        """Return what each path leads to, from *enrollment*.

        Raises ProtocolError if that is more than one enrollment may include.
        """
        related: dict[str, Any] = {}
        links = size = 0
        for path in self.paths:
            reached, has_many = [enrollment], False
            for name in path.split("."):
                linked: list[tuple[str, str]] = []
                for resource in reached:
                    has_many |= isinstance(_data_of(resource, name), list)
                    linked += _linked(resource, name)
                links += len(linked)
                if links > MAX_LINKS:
                    raise self.excess(enrollment, f"{MAX_LINKS:,} resources")
                # Each resource once, however many links lead to it.
                keys = [key for key in dict.fromkeys(linked) if key in self.resources]
                reached = [self.resources[key] for key in keys]
            size += sum(map(self._size, keys))
            related[path] = reached if has_many else next(iter(reached), None)
        if size > MAX_INCLUDED_BYTES:
            raise self.excess(enrollment, f"{MAX_INCLUDED_BYTES // 1024**2} MB")
        self._bytes_of_page += size
        if self._bytes_of_page > MAX_INCLUDED_BYTES_OF_PAGE:
            limit = f"{MAX_INCLUDED_BYTES_OF_PAGE // 1024**2} MB, with those before it on the page"
            raise self.excess(enrollment, limit)
        return related

    def attributes(self, resource: Resource, relationship: str) -> Resource:
        """Return the attributes of the one resource that *relationship* links to, if any."""
        if isinstance(_data_of(resource, relationship), list):
            return {}
        for key in _linked(resource, relationship):
            return self.resources.get(key, {}).get("attributes") or {}
        return {}

    def name_of(self, resource: Resource, relationship: str) -> str | None:
        """Return the linked resource's name in the locale, or else the first one that it lists."""
        listed = self.attributes(resource, relationship).get("localizedMetadata") or ()
        entries = [entry for entry in listed if entry.get("name")]
        for entry in entries:
            if (entry.get("locale") or "").lower() == self._locale:
                return str(entry["name"])
        return entries[0]["name"] if entries else None

    def _size(self, key: tuple[str, str]) -> int:
        if key not in self._sizes:
            resource = self.resources[key]
            try:
                self._sizes[key] = len(msgspec.json.encode(resource))
            except (UnicodeEncodeError, OverflowError):
                self._sizes[key] = len(to_json(resource))
        return self._sizes[key]

    def excess(self, enrollment: Resource, limit: str) -> ProtocolError:
        """Return the error of an *enrollment* that includes more than *limit*."""
        return _breach(
            f"ALM's enrollment {quoted(enrollment['id'])} includes more than {limit}.",
            self.page,
            hint="The response was discarded. Request less with `include`.",
        )


def read_enrollments(
    page: Page, include: Sequence[str] = (), *, related: Sequence[str] = (), locale: str = ""
) -> list[Enrollment]:
    """Return the page's enrollments in ALM's order, with the resources at the paths of *include*.

    The page has those of *related*, too: they give the names, in *locale* if there is a choice.
    Raises ProtocolError if an id contradicts a relationship, or for another learner's enrollment.
    """
    included = _Included(page, include, related, locale)
    return [_read_enrollment(resource, page, included) for resource in page.enrollments]


def without_repeats(page: Page) -> tuple[Page, list[str]]:
    """Return *page* with each enrollment once, and the ids of those that it lists again.

    Only a byte-identical repeat is left out: any other contradicts the first.
    """
    first = {resource["id"]: resource for resource in reversed(page.enrollments)}
    if len(first) == len(page.enrollments):
        return page, []
    kept, repeated = [], []
    for resource in page.enrollments:
        same = first[resource["id"]]
        if resource is not same and resource == same:
            repeated.append(resource["id"])
        else:
            kept.append(resource)
    return replace(page, enrollments=kept), repeated


def find_missing(page: Page, include: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the path and id of each resource that *include* asked for and ALM left out."""
    resources = {(resource["type"], resource["id"]): resource for resource in page.included}
    for path in include:
        reached = page.enrollments
        for name in path.split("."):
            keys: dict[tuple[str, str], None] = {}
            for resource in reached:
                keys |= dict.fromkeys(_linked(resource, name))
            for key in keys:
                if key not in resources:
                    yield path, key[1]
            reached = [resources[key] for key in keys if key in resources]


def _data_of(resource: Resource, name: str) -> Any:  # noqa: ANN401 - ALM's JSON
    return ((resource.get("relationships") or {}).get(name) or {}).get("data")


def _linked(resource: Resource, name: str) -> list[tuple[str, str]]:
    """Return type and id of each resource that the relationship *name* links to."""
    data = _data_of(resource, name) or []
    identifiers = data if isinstance(data, list) else [data]
    return [(identifier["type"], identifier["id"]) for identifier in identifiers]


def _read_enrollment(resource: Resource, page: Page, included: _Included) -> Enrollment:
    related_ids = (
        _related_id(resource, "learningObject"),
        _related_id(resource, "loInstance"),
        _related_id(resource, "learner"),
    )
    match = _ENROLLMENT_ID.fullmatch(resource["id"])
    if match:
        instance_id, lo_id, lo_type, user_id = match.groups()
        if related_ids != (lo_id, instance_id, user_id):
            _check_related_ids((lo_id, instance_id, user_id), related_ids, resource["id"], page)
    else:
        lo_id, instance_id, learner_id = related_ids
        prefix = _TYPE_PREFIX.match(lo_id or resource["id"])
        lo_type, user_id = prefix and prefix[0], learner_id or page.user_id
    if user_id != page.user_id and user_id.lstrip("0") != page.user_id.lstrip("0"):
        raise _breach(
            f"ALM answered for user {page.user_id} with another learner's enrollment,"
            f" {quoted(resource['id'])}.",
            page,
        )
    attributes = _read_attributes(resource, _Attributes, page)
    lo_name, user_name, user_email = _read_names(resource, included)
    # By position: msgspec searches all fields for each keyword.
    return Enrollment(
        resource["id"],
        user_id,
        lo_id,
        lo_type,
        instance_id,
        attributes.state,
        attributes.progress_percent,
        attributes.has_passed,
        attributes.score,
        attributes.enrollment_source,
        attributes.date_enrolled,
        attributes.date_started,
        attributes.date_completed,
        attributes.completion_deadline,
        attributes.last_access_date,
        attributes.rating,
        attributes.purchased_price,
        attributes.url,
        lo_name,
        user_name,
        user_email,
        _read_grades(resource, included),
        included.of(resource) if included.paths else None,
        match is not None,
    )


def _read_names(resource: Resource, included: _Included) -> tuple[_Name, _Name, _Name]:
    """Return the names of learning object and learner, and the address, if they are included."""
    if not included.names:
        return UNSET, UNSET, UNSET
    lo_name: _Name = UNSET
    if "lo_name" in included.names:
        lo_name = included.name_of(resource, "learningObject")
    if "user_name" not in included.names:
        return lo_name, UNSET, UNSET
    learner = included.attributes(resource, "learner")
    return lo_name, learner.get("name"), learner.get("email")


def _related_id(resource: Resource, name: str) -> str | None:
    try:
        related_id: str = resource["relationships"][name]["data"]["id"]
    except (KeyError, TypeError):
        return None
    return related_id


def _check_related_ids(
    ids: tuple[str, ...], related_ids: tuple[str | None, ...], enrollment_id: str, page: Page
) -> None:
    names = ("learningObject", "loInstance", "learner")
    for name, expected, related in zip(names, ids, related_ids, strict=True):
        if related is not None and related != expected:
            raise _breach(
                f"ALM's enrollment {quoted(enrollment_id)} contradicts its relationship {name},"
                f" which is {quoted(related)}.",
                page,
            )


_REPORT = "The response was discarded. Report this with the request id."


def _breach(message: str, page: Page, hint: str = _REPORT) -> ProtocolError:
    return ProtocolError(
        message,
        hint=hint,
        http_status=HTTPStatus.OK,
        request_id=page.request_id,
    )


def _read_attributes(resource: Resource, kind: type[_Kind], page: Page) -> _Kind:
    """Return the attributes of *resource*; a number that no double equals is the nearest double."""
    attributes = resource.get("attributes") or {}
    try:
        return msgspec.convert(attributes, kind)
    except msgspec.ValidationError:
        names = kind.__struct_encode_fields__
        rounded = {name: _as_double(attributes.get(name), page) for name in names}
    try:
        return msgspec.convert(rounded, kind)
    except msgspec.ValidationError as error:
        # The page's schema checks grades by their type, and a link may name another type.
        text = f"ALM's {quoted(resource['id'])} has an attribute of the wrong type: {error}."
        raise _breach(text, page) from None


def _as_double(value: Any, page: Page) -> Any:  # noqa: ANN401 - ALM's JSON
    if not isinstance(value, int) or abs(value) <= _MAX_EXACT:
        return value
    try:
        return float(value)
    except OverflowError:
        text = f"ALM's page has a number that is too large to be one: {quoted(str(value))}."
        raise _breach(text, page) from None


def _read_grades(
    enrollment: Resource, included: _Included
) -> tuple[ResourceGrade | IncludedResourceGrade, ...]:
    identifiers = _data_of(enrollment, _GRADES) or ()
    if len(identifiers) > MAX_LINKS:
        raise included.excess(enrollment, f"{MAX_LINKS:,} grades")
    if included.has_grades:
        return tuple([_read_included_grade(identifier, included) for identifier in identifiers])
    return tuple([_read_grade(identifier["id"]) for identifier in identifiers])


def _read_grade(grade_id: str) -> ResourceGrade:
    match = _RESOURCE_GRADE_ID.fullmatch(grade_id)
    if match is None:
        return ResourceGrade(grade_id, None, None)
    module_id, module_version = match.groups()
    return ResourceGrade(grade_id, module_id, int(module_version))


def _read_included_grade(identifier: Resource, included: _Included) -> IncludedResourceGrade:
    grade = _read_grade(identifier["id"])
    resource = included.resources.get((identifier["type"], grade.id), {})
    attributes = _read_attributes(resource, _GradeAttributes, included.page)
    module_name: _Name = UNSET
    if "module_name" in included.names:
        module_name = included.name_of(resource, "loResource")
    return IncludedResourceGrade(
        grade.id,
        grade.module_id,
        grade.module_version,
        attributes.progress_percent,
        attributes.has_passed,
        attributes.score,
        attributes.highest_score,
        attributes.max_score,
        attributes.duration,
        attributes.date_started,
        attributes.date_completed,
        attributes.date_success,
        attributes.completed,
        module_name,
    )
