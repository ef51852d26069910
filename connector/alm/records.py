"""JSON:API resources to flat, typed records; ids taken apart and held against the relationships.

Records are msgspec's structs: immutable as a frozen dataclass, made in a fifth of the time, and written as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from msgspec import Struct
from msgspec.structs import asdict

from connector.alm.protocol import shown
from connector.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from connector.alm.protocol import Page

Resource = dict[str, Any]
_Resources = Mapping[tuple[str, str], Resource]
_ENROLLMENT_ID = re.compile(r"((([A-Za-z]+):[0-9]+)_[0-9]+)_([0-9]+)")
_RESOURCE_GRADE_ID = re.compile(r"([A-Za-z]+:[0-9]+_[0-9]+)_([0-9]+)_([0-9]{1,18})_([0-9]+)")
_GRADES = "loResourceGrades"
# In the order of the id's parts that say the same.
_TO_ONE = ("learningObject", "loInstance", "learner")


class EnrollmentId(NamedTuple):
    """``course:6511020_7037048_20941371``, taken apart: type, learning object, loInstance, learner."""

    lo_type: str
    lo_id: str
    lo_instance_id: str
    user_id: str

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the parts of *text*, the first two ids whole as ALM writes them; ``None`` where it is of another shape."""
        match = _ENROLLMENT_ID.fullmatch(text)
        if match is None:
            return None
        instance, lo, lo_type, user = match.groups()
        return cls(lo_type, lo, instance, user)


class ResourceGradeId(NamedTuple):
    """``course:6511020_7037048_11676159_0_20941371``: the module and its version, of one learner in one loInstance."""

    lo_instance_id: str
    module_id: str
    module_version: int
    user_id: str

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the parts of *text*; ``None`` where it is of another shape."""
        match = _RESOURCE_GRADE_ID.fullmatch(text)
        if match is None:
            return None
        instance, module, version, user = match.groups()
        return cls(instance, module, int(version), user)


class ResourceGrade(Struct, frozen=True):
    """A learner's grade in one module; module and version are ``None`` where the id is of another shape."""

    id: str
    module_id: str | None
    module_version: int | None


class IncludedResourceGrade(Struct, frozen=True):
    """A grade with its attributes, as ``include`` brings them; *duration* in seconds."""

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


class Enrollment(Struct, frozen=True, omit_defaults=True):
    """One learner's enrollment in one loInstance, flat; ``None`` where ALM sent nothing. Dates as ALM writes them."""

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
    resource_grades: tuple[ResourceGrade | IncludedResourceGrade, ...]
    included: dict[str, Any] | None = None
    is_decoded: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Return the enrollment by the contract's names; ``included`` only where it was asked for."""
        values = asdict(self)
        values["resource_grades"] = [asdict(grade) for grade in self.resource_grades]
        del values["is_decoded"]
        if self.included is None:
            del values["included"]
        return values


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(map(str.capitalize, tail))


FIELDS = Enrollment.__struct_fields__
_ENROLLMENT_ATTRIBUTES = tuple(
    map(_camel, FIELDS[FIELDS.index("state") : FIELDS.index("resource_grades")])
)
_GRADE_ATTRIBUTES = tuple(
    map(_camel, IncludedResourceGrade.__struct_fields__[len(ResourceGrade.__struct_fields__) :])
)


def read_enrollments(page: Page, include: Iterable[str] = ()) -> list[Enrollment]:
    """Return the page's enrollments, as served; *include* names the relationship paths that were asked for.

    Raises ProtocolError where an id and a relationship contradict each other, or
    where the enrollment is another learner's.
    """
    paths = tuple(include)
    resources = (
        {(resource["type"], resource["id"]): resource for resource in page.included}
        if paths
        else {}
    )
    grades = resources if any(path.split(".")[0] == _GRADES for path in paths) else None
    return [
        _read_enrollment(resource, page, paths, resources, grades) for resource in page.enrollments
    ]


def _read_enrollment(
    resource: Resource,
    page: Page,
    include: tuple[str, ...],
    resources: _Resources,
    grades: _Resources | None,
) -> Enrollment:
    relationships = resource.get("relationships") or {}
    told = _told_ids(relationships)
    match = _ENROLLMENT_ID.fullmatch(resource["id"])
    if match is None:
        lo_id, instance_id, learner = told
        lo_type, user_id = _type_prefix(lo_id or resource["id"]), learner or page.user_id
    else:
        instance_id, lo_id, lo_type, user_id = match.groups()
        if told != (lo_id, instance_id, user_id):
            _cross_check((lo_id, instance_id, user_id), told, resource["id"], page)
    if user_id != page.user_id:
        _check_learner(user_id, resource["id"], page)
    attributes = resource.get("attributes") or {}
    values: tuple[Any, ...] = (
        resource["id"],
        user_id,
        lo_id,
        lo_type,
        instance_id,
        *map(attributes.get, _ENROLLMENT_ATTRIBUTES),
        _read_grades(relationships, grades),
        _read_included(resource, include, resources) if include else None,
        match is not None,
    )
    return Enrollment(*values)


def _told_ids(relationships: Resource) -> tuple[str | None, ...]:
    try:
        # As a rule all are there.
        return (
            relationships["learningObject"]["data"]["id"],
            relationships["loInstance"]["data"]["id"],
            relationships["learner"]["data"]["id"],
        )
    except (KeyError, TypeError):
        identifiers = [(relationships.get(name) or {}).get("data") for name in _TO_ONE]
        return tuple([identifier["id"] if identifier else None for identifier in identifiers])


def _type_prefix(text: str) -> str | None:
    prefix, colon, _ = text.partition(":")
    return prefix if colon and prefix.isascii() and prefix.isalpha() else None


def _cross_check(
    from_id: tuple[str, ...], told: tuple[str | None, ...], enrollment_id: str, page: Page
) -> None:
    for name, expected, related in zip(_TO_ONE, from_id, told, strict=True):
        if related is not None and related != expected:
            raise ProtocolError(
                f"ALM's enrollment {shown(enrollment_id)} contradicts its relationship {name}, which is {shown(related)}.",
                hint="Nothing of it was used; report it with the request id.",
                http_status=200,
                request_id=page.request_id,
            )


def _check_learner(user_id: str, enrollment_id: str, page: Page) -> None:
    if user_id.lstrip("0") != page.user_id.lstrip("0"):
        raise ProtocolError(
            f"ALM answered for user {page.user_id} with another learner's enrollment, {shown(enrollment_id)}.",
            hint="Nothing of it was used; report it with the request id.",
            http_status=200,
            request_id=page.request_id,
        )


def _read_grades(
    relationships: Resource, included: Mapping[tuple[str, str], Resource] | None
) -> tuple[ResourceGrade | IncludedResourceGrade, ...]:
    told = relationships.get(_GRADES)
    identifiers = told.get("data") if told else None
    if not identifiers:
        return ()
    if included is None:
        return tuple([ResourceGrade(one["id"], *_module(one["id"])) for one in identifiers])
    return tuple([_read_grade(one, included) for one in identifiers])


def _module(grade_id: str) -> tuple[str | None, int | None]:
    match = _RESOURCE_GRADE_ID.fullmatch(grade_id)
    return (match[2], int(match[3])) if match else (None, None)


def _read_grade(identifier: Resource, included: _Resources) -> IncludedResourceGrade:
    attributes = included.get((identifier["type"], identifier["id"]), {}).get("attributes") or {}
    return IncludedResourceGrade(
        identifier["id"], *_module(identifier["id"]), *map(attributes.get, _GRADE_ATTRIBUTES)
    )


def _read_included(
    resource: Resource, include: tuple[str, ...], included: _Resources
) -> dict[str, Any] | None:
    """Return by path what was asked for: a resource, a list of them where a relationship on the way has many, or ``None``."""
    return {
        path: _follow(resource, path.split("."), included) for path in include if path != _GRADES
    } or None


def _follow(resource: Resource, steps: list[str], included: _Resources) -> Any:  # noqa: ANN401
    if not steps:
        return resource
    related = ((resource.get("relationships") or {}).get(steps[0]) or {}).get("data")
    if not isinstance(related, list):
        found = included.get((related["type"], related["id"])) if related else None
        return _follow(found, steps[1:], included) if found else None
    reached = [
        _follow(included[key], steps[1:], included)
        for key in ((one["type"], one["id"]) for one in related)
        if key in included
    ]
    flat = [one for each in reached for one in (each if isinstance(each, list) else [each])]
    return [one for one in flat if one is not None]
