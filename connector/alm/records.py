"""JSON:API resources to flat, typed records; ids taken apart and held against the relationships."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Self

from connector.alm.protocol import shown
from connector.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from connector.alm.protocol import Page

Resource = dict[str, Any]
_ENROLLMENT_ID = re.compile(r"([A-Za-z]+):([0-9]+)_([0-9]+)_([0-9]+)", re.ASCII)
_RESOURCE_GRADE_ID = re.compile(r"([A-Za-z]+):([0-9]+)_([0-9]+)_([0-9]+)_([0-9]{1,18})_([0-9]+)", re.ASCII)
_GRADES = "loResourceGrades"


@dataclass(frozen=True, slots=True)
class EnrollmentId:
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
        lo_type, lo, instance, user = match.groups()
        return cls(lo_type, f"{lo_type}:{lo}", f"{lo_type}:{lo}_{instance}", user)


@dataclass(frozen=True, slots=True)
class ResourceGradeId:
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
        lo_type, lo, instance, module, version, user = match.groups()
        return cls(f"{lo_type}:{lo}_{instance}", module, int(version), user)


@dataclass(frozen=True, slots=True)
class ResourceGrade:
    """A learner's grade in one module; module and version are ``None`` where the id is of another shape."""

    id: str
    module_id: str | None
    module_version: int | None

    def as_dict(self) -> dict[str, Any]:
        """Return the grade by the contract's names."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class IncludedResourceGrade(ResourceGrade):
    """A grade with its attributes, as ``include`` brings them; *duration* in seconds."""

    progress_percent: float | None
    has_passed: bool | None
    score: float | None
    highest_score: float | None
    max_score: float | None
    duration: float | None
    date_started: str | None
    date_completed: str | None
    date_success: str | None


@dataclass(frozen=True, slots=True)
class Enrollment:
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
    resource_grades: tuple[ResourceGrade, ...]
    included: dict[str, Any] | None
    is_decoded: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the enrollment by the contract's names; ``included`` only where it was asked for."""
        values: dict[str, Any] = dict(zip(_ENROLLMENT_NAMES, _enrollment_values(self), strict=True))
        values["resource_grades"] = [grade.as_dict() for grade in self.resource_grades]
        if self.included is not None:
            values["included"] = self.included
        return values


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(map(str.capitalize, tail))


_ENROLLMENT_NAMES = tuple(field.name for field in fields(Enrollment) if field.name not in ("included", "is_decoded"))
_enrollment_values: Callable[[Enrollment], tuple[Any, ...]] = attrgetter(*_ENROLLMENT_NAMES)
_ENROLLMENT_ATTRIBUTES = tuple(
    map(_camel, _ENROLLMENT_NAMES[_ENROLLMENT_NAMES.index("state") : _ENROLLMENT_NAMES.index("resource_grades")])
)
_GRADE_ATTRIBUTES = tuple(_camel(field.name) for field in fields(IncludedResourceGrade)[len(fields(ResourceGrade)) :])


def read_enrollments(page: Page, include: Iterable[str] = ()) -> list[Enrollment]:
    """Return the page's enrollments, as served; *include* names the relationship paths that were asked for.

    Raises ProtocolError where an id and a relationship contradict each other, or
    where the enrollment is another learner's.
    """
    paths = tuple(include)
    included = {(resource["type"], resource["id"]): resource for resource in page.included}
    return [_read_enrollment(resource, page, paths, included) for resource in page.enrollments]


def _read_enrollment(resource: Resource, page: Page, include: tuple[str, ...], included: Mapping[tuple[str, str], Resource]) -> Enrollment:
    relationships = resource.get("relationships") or {}
    told = {name: _told_id(relationships, name) for name in ("learner", "learningObject", "loInstance")}
    parsed = EnrollmentId.parse(resource["id"])
    if parsed:
        _cross_check(parsed, told, resource["id"], page)
    lo_id = parsed.lo_id if parsed else told["learningObject"]
    user_id = parsed.user_id if parsed else told["learner"] or page.user_id
    _check_learner(user_id, resource["id"], page)
    attributes = resource.get("attributes") or {}
    has_grades = any(path.split(".")[0] == _GRADES for path in include)
    values: list[Any] = [
        resource["id"],
        user_id,
        lo_id,
        parsed.lo_type if parsed else _type_prefix(lo_id or resource["id"]),
        parsed.lo_instance_id if parsed else told["loInstance"],
        *map(attributes.get, _ENROLLMENT_ATTRIBUTES),
        _read_grades(relationships, included if has_grades else None),
        _read_included(resource, include, included) if include else None,
        parsed is not None,
    ]
    return Enrollment(*values)


def _told_id(relationships: Resource, name: str) -> str | None:
    identifier = (relationships.get(name) or {}).get("data")
    return identifier["id"] if identifier else None


def _type_prefix(text: str) -> str | None:
    prefix, colon, _ = text.partition(":")
    return prefix if colon and prefix.isascii() and prefix.isalpha() else None


def _cross_check(parsed: EnrollmentId, told: Mapping[str, str | None], enrollment_id: str, page: Page) -> None:
    ids = {"learner": parsed.user_id, "learningObject": parsed.lo_id, "loInstance": parsed.lo_instance_id}
    for name, from_id in ids.items():
        if told[name] is not None and told[name] != from_id:
            raise ProtocolError(
                f"ALM's enrollment {shown(enrollment_id)} contradicts its relationship {name}, which is {shown(str(told[name]))}.",
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


def _read_grades(relationships: Resource, included: Mapping[tuple[str, str], Resource] | None) -> tuple[ResourceGrade, ...]:
    identifiers = (relationships.get(_GRADES) or {}).get("data") or ()
    return tuple([_read_grade(identifier, included) for identifier in identifiers])


def _read_grade(identifier: Resource, included: Mapping[tuple[str, str], Resource] | None) -> ResourceGrade:
    parsed = ResourceGradeId.parse(identifier["id"])
    module_id, module_version = (parsed.module_id, parsed.module_version) if parsed else (None, None)
    if included is None:
        return ResourceGrade(identifier["id"], module_id, module_version)
    attributes = included.get((identifier["type"], identifier["id"]), {}).get("attributes") or {}
    return IncludedResourceGrade(identifier["id"], module_id, module_version, *map(attributes.get, _GRADE_ATTRIBUTES))


def _read_included(resource: Resource, include: tuple[str, ...], included: Mapping[tuple[str, str], Resource]) -> dict[str, Any]:
    """Return by path what was asked for: a resource, a list of them where a relationship on the way has many, or ``None``."""
    return {path: _follow(resource, path.split("."), included) for path in include if path != _GRADES}


def _follow(resource: Resource, steps: list[str], included: Mapping[tuple[str, str], Resource]) -> Any:  # noqa: ANN401
    if not steps:
        return resource
    related = ((resource.get("relationships") or {}).get(steps[0]) or {}).get("data")
    if not isinstance(related, list):
        found = included.get((related["type"], related["id"])) if related else None
        return _follow(found, steps[1:], included) if found else None
    reached = [_follow(included[key], steps[1:], included) for key in ((one["type"], one["id"]) for one in related) if key in included]
    flat = [one for each in reached for one in (each if isinstance(each, list) else [each])]
    return [one for one in flat if one is not None]
