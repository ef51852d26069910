"""The names of learning objects, learners and modules: only if they are included."""

from __future__ import annotations

from typing import Any

import pytest

from connector.alm.protocol import Page
from connector.alm.records import IncludedResourceGrade, read_enrollments
from connector.schemas import first_error, is_valid
from connector.settings import NAME_FIELDS

Resource = dict[str, Any]
NAMES = tuple(dict.fromkeys(NAME_FIELDS.values()))
GRADE = "course:1_2_7_0_3"
IN_TWO = [{"locale": "de-DE", "name": "Erste Hilfe"}, {"locale": "en-US", "name": "First aid"}]


def to(kind: str, resource_id: str) -> Resource:
    """Return a relationship to a resource."""
    return {"data": {"id": resource_id, "type": kind}}


def resource(kind: str, resource_id: str, attributes: Any, **relationships: Any) -> Resource:
    """Return an included resource."""
    values = {"id": resource_id, "type": kind, "attributes": attributes}
    return {**values, "relationships": relationships}


ENROLLMENT = {
    "id": "course:1_2_3",
    "type": "learningObjectInstanceEnrollment",
    "relationships": {
        "learner": to("user", "3"),
        "learningObject": to("learningObject", "course:1"),
        "loResourceGrades": {"data": [{"id": GRADE, "type": "learningObjectResourceGrade"}]},
    },
}
USER = resource("user", "3", {"name": "Ada", "email": "ada@example.com", "state": "ACTIVE"})
COURSE = resource("learningObject", "course:1", {"localizedMetadata": IN_TWO})
MODULE = resource("learningObjectResource", "course:1_2_7_0", {"localizedMetadata": IN_TWO[:1]})
GRADES = resource(
    "learningObjectResourceGrade",
    GRADE,
    {"score": 9},
    loResource=to("learningObjectResource", "course:1_2_7_0"),
)
ALL = (USER, COURSE, MODULE, GRADES)


def read(*included: Resource, related: tuple[str, ...] = NAMES, locale: str = "en-US") -> Resource:
    """Return the record of a page whose resources are *included*."""
    page = Page("3", None, [ENROLLMENT], list(included), None, "trace")
    (enrollment,) = read_enrollments(page, related=related, locale=locale)
    return enrollment.as_dict()


def names_in(record: Resource) -> list[Any]:
    """Return the names in a record; a dash for one that it does not have."""
    grade = record["resource_grades"][0]
    fields = ("lo_name", "user_name", "user_email")
    return [*(record.get(name, "-") for name in fields), grade.get("module_name", "-")]


@pytest.mark.parametrize(
    ("related", "names"),
    [
        (NAMES, ["First aid", "Ada", "ada@example.com", "Erste Hilfe"]),
        (("learner",), ["-", "Ada", "ada@example.com", "-"]),
        (("learner.manager",), ["-", "Ada", "ada@example.com", "-"]),
        (("learnerBadge",), ["-", "-", "-", "-"]),
        (("learningObject.skills",), ["First aid", "-", "-", "-"]),
        (("loResourceGrades",), ["-", "-", "-", "-"]),
        (("loResourceGrades.loResource",), ["-", "-", "-", "Erste Hilfe"]),
        ((), ["-", "-", "-", "-"]),
    ],
)
def test_names__only_if_included(related: tuple[str, ...], names: list[str]) -> None:
    """A record has a name if the request includes its resource; without, the field is left out."""
    assert names_in(read(*ALL, related=related)) == names


def test_names__included_only_if_asked_for() -> None:
    """The resources of names are not in the record; a grade's attributes are."""
    record = read(*ALL)

    assert "included" not in record
    assert list(record)[-5:] == ["url", "lo_name", "user_name", "user_email", "resource_grades"]
    assert record["resource_grades"][0]["score"] == 9


def test_names__of_include_have_the_resource_too() -> None:
    """A path in include fills the name, and is in the record."""
    page = Page("3", None, [ENROLLMENT], list(ALL), None, "trace")

    (enrollment,) = read_enrollments(page, ("learner",))

    assert (enrollment.user_name, enrollment.included) == ("Ada", {"learner": USER})


@pytest.mark.parametrize(
    ("locale", "metadata", "name"),
    [
        ("en-US", IN_TWO, "First aid"),
        ("EN-us", IN_TWO, "First aid"),
        ("de-DE", IN_TWO, "Erste Hilfe"),
        ("fr-FR", IN_TWO, "Erste Hilfe"),
        ("en-US", [{"locale": "en-US", "name": ""}, *IN_TWO], "First aid"),
        ("fr-FR", [{"locale": "it-IT", "name": None}, *IN_TWO], "Erste Hilfe"),
        ("en-US", [{"name": "Nowhere"}], "Nowhere"),
        ("en-US", [{"locale": None, "name": "Nowhere"}], "Nowhere"),
        ("en-US", [{"locale": "en-US"}], None),
        ("en-US", [], None),
        ("en-US", None, None),
    ],
)
def test_names__by_locale(locale: str, metadata: Any, name: str | None) -> None:
    """The name is that of the locale, or else the first that ALM lists; without any it is null."""
    attributes = {"localizedMetadata": metadata}
    record = read(resource("learningObject", "course:1", attributes), locale=locale)

    assert record["lo_name"] == name


@pytest.mark.parametrize("attributes", [None, {}, {"name": None, "email": None}])
def test_names__without_attributes(attributes: Any) -> None:
    """A learner or a learning object without names has null ones."""
    record = read(
        resource("user", "3", attributes), resource("learningObject", "course:1", attributes)
    )

    assert names_in(record) == [None, None, None, None]


def test_names__of_resources_that_are_missing() -> None:
    """Resources that ALM left out, of a deleted learning object for one, have null names."""
    assert names_in(read()) == [None, None, None, None]


def test_names__of_several_modules() -> None:
    """Should a grade have several modules, it has no name."""
    several = {"data": [MODULE]}
    grade = resource("learningObjectResourceGrade", GRADE, {}, loResource=several)

    assert names_in(read(grade, MODULE))[3] is None


def test_grades__field_of_every_name() -> None:
    """The fields with names are those of the records."""
    assert "module_name" in IncludedResourceGrade.__struct_fields__


@pytest.mark.parametrize(
    ("kind", "attributes", "path"),
    [
        ("user", {"name": 7}, "included/0/attributes/name"),
        ("user", {"email": ["a"]}, "included/0/attributes/email"),
        ("learningObject", {"localizedMetadata": {}}, "included/0/attributes/localizedMetadata"),
        (
            "learningObjectResource",
            {"localizedMetadata": [{"name": 7}]},
            "included/0/attributes/localizedMetadata/0/name",
        ),
    ],
)
def test_schema__names_are_text(kind: str, attributes: Any, path: str) -> None:
    """A page whose names are not text breaks the schema; of other types it may."""
    page = {"data": [], "included": [resource(kind, "1", attributes)]}
    other = {"data": [], "included": [resource("aNewOne", "1", attributes)]}

    assert first_error("enrollments-page", page)[0] == path
    assert is_valid("enrollments-page", other)
