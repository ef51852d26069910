"""Write the tables of README and docs, and action.yml's names, from schemas and error classes.

``make docs`` runs it; a test compares the files with what it would write.
"""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connector import errors
from connector.formats.interface import COLUMNS
from connector.formats.parquet import schema_of
from connector.schemas import load_schema
from connector.settings import allowed, variable
from connector.settings.surfaces import Surface

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
ACTION = ROOT / "action.yml"
_COLUMN_NOTES = {
    "resource_grade_ids": "The ids of the enrollment's grades, separated by spaces.",
    "module_names": "The names of the grades' modules, separated by semicolons. Only with `names`.",
    "resource_grades": "Only if `columns` names it. JSON in csv and xlsx.",
    "included": "Only if `columns` names it and `include` has paths. JSON.",
}
# The action's own inputs, with their defaults.
_ACTION_INPUTS = {"command": "fetch", "files": None}
_ACTION_TEXTS = {
    "command": "What to do: `fetch` enrollments, `check` token and quota, `merge` the files of"
    " shards, or `diff` two files. Allowed: fetch, check, merge, diff.",
    "files": "For merge: the shards' files, one path per line. For diff: the older file, then the"
    " newer one. Allowed: paths of output files.",
}
_DOCUMENT_FILE = (
    "The file with the complete document, for later steps of the job; no other user can read it."
    " With a format other than json and no output-file, it has the records instead."
)
# Each error class with its sysexits name, and whether to run again.
_EXITS = {
    "UsageError": ("USAGE", "No. Fix the input that the message names."),
    "PartialError": ("DATAERR", "Only for the users in `users.failed`."),
    "UserNotFoundError": ("NOUSER", "No. Check the id, and the region in `base_url`."),
    "UnreachableError": ("UNAVAILABLE", "Check `base_url`, name server and proxy first."),
    "InternalError": ("SOFTWARE", "No. Report it with the log of `--debug`."),
    "OutputError": ("CANTCREAT", "Make room, or fix the folder's permissions, first."),
    "TemporaryError": ("TEMPFAIL", "Yes, at `error.retry_at`."),
    "ProtocolError": ("PROTOCOL", "No. Report it with the request id."),
    "AuthenticationError": ("NOPERM", "No. Use a new token, another scope or another region."),
}


def inputs_table() -> str:
    """Return the table of inputs, in the schema's order."""
    lines = ["| input | default | meaning |", "|---|---|---|"]
    for name, rule in load_schema("inputs")["properties"].items():
        default = rule.get("x-default", "none")
        if "default" in rule:
            default = f"`{_default(rule)}`"
        lines.append(f"| `{name}` | {default} | {_input_description(rule)} |")
    return "\n".join(lines)


def _input_description(rule: Mapping[str, Any]) -> str:
    return f"{rule['description']} Allowed: {allowed(rule)}."


def _default(rule: Mapping[str, Any]) -> str:
    default = rule["default"]
    if isinstance(default, list):
        return ",".join(default)
    return str(default).lower() if isinstance(default, bool) else str(default)


def credentials_table() -> str:
    """Return the table of credentials."""
    lines = ["| variable | meaning |", "|---|---|"]
    for name, rule in load_schema("inputs#credentials")["properties"].items():
        lines.append(f"| `{variable(name)}` | {rule['description']} |")
    return "\n".join(lines)


def outputs_table() -> str:
    """Return the table of the document's fields."""
    return _fields_table("outputs")


def diff_table() -> str:
    """Return the table of the fields of a comparison's document."""
    return _fields_table("diff")


def _fields_table(schema: str) -> str:
    lines = ["| field | meaning |", "|---|---|"]
    for name, description in _output_descriptions(schema).items():
        lines.append(f"| `{name}` | {description} |")
    return "\n".join(lines)


def _output_descriptions(name: str) -> dict[str, str]:
    schema = load_schema(name)
    descriptions = {}
    for field, rule in schema["properties"].items():
        reference = rule.get("$ref", "").removeprefix("#/$defs/")
        resolved = {**schema["$defs"].get(reference, {}), **rule}
        descriptions[field] = resolved.get("description", resolved["title"])
    return descriptions


def exits_table() -> str:
    """Return the table of exit codes, from the error classes."""
    lines = [
        "| code | name | what happened | run again? |",
        "|---|---|---|---|",
        "| 0 | OK | Everything that was requested was read | |",
    ]
    for name, (short, retry) in _EXITS.items():
        kind = getattr(errors, name)
        happened = kind.__doc__.splitlines()[0].rstrip(".")
        lines.append(f"| {kind.exit_code} | {short} | {happened} | {retry} |")
    lines.append("| 130, 143 | | SIGINT or SIGTERM ended the run | Yes. |")
    return "\n".join(lines)


def columns_table() -> str:
    """Return the table of the columns of CSV and Parquet."""
    described = load_schema("outputs")["$defs"]["enrollment"]["properties"]
    lines = ["| column | Parquet type | meaning |", "|---|---|---|"]
    for name in COLUMNS:
        kind = str(schema_of([name]).field(0).type).partition("<")[0]
        note = _COLUMN_NOTES.get(name) or described[name].get("description", "")
        lines.append(f"| `{name}` | {kind} | {note} |")
    return "\n".join(lines)


def action_inputs() -> str:
    """Return action.yml's inputs: the command, every input and every credential."""
    lines = []
    for name, default in _ACTION_INPUTS.items():
        lines += [f"{name}:", _description(_ACTION_TEXTS[name])]
        if default:
            lines.append(f"  default: {json.dumps(default)}")
    for name, rule in load_schema("inputs")["properties"].items():
        text = Surface.ACTION.text(_input_description(rule))
        lines += [f"{_kebab(name)}:", _description(text)]
        if "default" in rule:
            lines.append(f"  default: {json.dumps(_default(rule))}")
    for name, rule in load_schema("inputs#credentials")["properties"].items():
        lines += [f"{_kebab(name)}:", _description(f"{rule['description']} From a secret.")]
    return "\n".join(lines)


def action_outputs() -> str:
    """Return action.yml's outputs: every field of the documents but the enrollments."""
    lines = []
    descriptions = {**_output_descriptions("diff"), **_output_descriptions("outputs")}
    names = dict.fromkeys([*_output_descriptions("outputs"), *descriptions])
    for name, description in {name: descriptions[name] for name in names}.items():
        if name != "enrollments":
            value = f"  value: ${{{{ steps.run.outputs.{name} }}}}"
            lines += [f"{name}:", _description(description), value]
    lines += ["document_file:", _description(_DOCUMENT_FILE)]
    lines.append("  value: ${{ steps.run.outputs.document_file }}")
    return "\n".join(lines)


def action_env() -> str:
    """Return the variables in which action.yml's step passes its inputs to the command."""
    names = [
        *_ACTION_INPUTS,
        *load_schema("inputs")["properties"],
        *load_schema("inputs#credentials")["properties"],
    ]
    return "\n".join(f"{variable(name)}: ${{{{ inputs.{_kebab(name)} }}}}" for name in names)


def _description(text: str) -> str:
    return textwrap.fill(
        text,
        130,
        initial_indent="  description: >-\n    ",
        subsequent_indent="    ",
        break_on_hyphens=False,
    )


def _kebab(name: str) -> str:
    return name.replace("_", "-")


#: The generated tables of each page.
PAGES = {
    README: {"exits": exits_table},
    DOCS / "INPUTS.md": {"inputs": inputs_table, "credentials": credentials_table},
    DOCS / "OUTPUTS.md": {"outputs": outputs_table},
    DOCS / "ERRORS.md": {"exits": exits_table},
    DOCS / "EXPORT.md": {"columns": columns_table},
    DOCS / "DIFF.md": {"diff": diff_table},
}
NAMES = {"inputs": action_inputs, "outputs": action_outputs, "env": action_env}


def updated(text: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """Return a page's *text* with every one of *tables* as the schemas have it now."""
    for name, table in tables.items():
        before, begin, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        text = f"{before}{begin}{table()}\n{end}{after}"
    return text


def updated_action(text: str) -> str:
    """Return action.yml's *text* with inputs, outputs and env as the schemas have them now."""
    for key, lines in NAMES.items():
        found = re.search(rf"^( *){key}:\n((?:\1  .*\n)+)", text, flags=re.MULTILINE)
        if found is None:
            raise ValueError(f"action.yml has no block {key}")
        block = textwrap.indent(lines(), f"{found[1]}  ")
        text = text[: found.start(2)] + block + "\n" + text[found.end(2) :]
    return text


if __name__ == "__main__":
    for page, tables in PAGES.items():
        page.write_text(updated(page.read_text(encoding="utf-8"), tables), encoding="utf-8")
    ACTION.write_text(updated_action(ACTION.read_text(encoding="utf-8")), encoding="utf-8")
