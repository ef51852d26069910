"""The commands' options: one for each input of the schema, and those of the command line only."""

from __future__ import annotations

import math
import platform
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from connector import __version__
from connector.cli.console import PROGRAM, write_text
from connector.errors import Problem
from connector.schemas import load_schema
from connector.settings.surfaces import Surface

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Callback = Callable[[click.Context, click.Parameter, Any], Any]
    Function = TypeVar("Function", bound=Callable[..., Any])

# Columns are too many to list.
_MAX_METAVAR_CHOICES = 12
#: Completes file names, and checks nothing.
FILE = click.Path(readable=False)


def input_options() -> list[click.Option]:
    """Return an option for each input of the schema; the settings validate its value."""
    options = []
    for name, rule in load_schema("inputs")["properties"].items():
        choices = rule.get("enum") or rule.get("items", {}).get("enum")
        default = rule.get("default") or ()
        if default is True:
            default = "true"
        metavars = {"array": "LIST", "boolean": "[true|false]", "string": "TEXT"}
        attributes: dict[str, Any] = {
            "help": Surface.COMMAND.text(rule["description"]).replace("`", ""),
            "metavar": metavars.get(rule["type"], rule["type"].upper()),
            "shell_complete": _completing(choices or rule.get("x-choices", ())),
        }
        if choices and len(choices) <= _MAX_METAVAR_CHOICES:
            attributes["metavar"] = "|".join(choices)
        if default:
            text = ",".join(default) if isinstance(default, list) else default
            attributes["help"] += f" Default: {text}."
        if rule["type"] == "array":
            attributes |= {"multiple": True, "callback": _join}
        if rule["type"] == "boolean":
            attributes |= {"is_flag": False, "flag_value": "true"}
            attributes["shell_complete"] = _completing(("true", "false"))
        if name.endswith("_file"):
            attributes |= {"type": FILE, "shell_complete": None}
        option = f"--{name.replace('_', '-')}"
        if default == "true":
            attributes["callback"] = _or_negated
            options.append(_negation(name, option))
        options.append(click.Option([option], **attributes))
    return options


def _negation(name: str, option: str) -> click.Option:
    """Return the flag that sets the boolean input *name* to false."""

    def set_false(ctx: click.Context, _param: click.Parameter, value: object) -> None:
        if value:
            ctx.meta[name] = "false"

    return click.Option(
        [f"--no-{option[2:]}"],
        is_flag=True,
        expose_value=False,
        callback=set_false,
        help=f"The same as {option}=false.",
    )


def _or_negated(ctx: click.Context, param: click.Parameter, value: object) -> object:
    # click processes what is on the command line first.
    return value or ctx.meta.get(str(param.name), value)


def _join(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> str:
    return "\n".join(values)


def _completing(choices: Sequence[str]) -> Callback:
    return lambda _ctx, _param, begun: [choice for choice in choices if choice.startswith(begun)]


def number_option(
    name: str,
    kind: type[int | float],
    limits: tuple[float, float],
    text: str,
    **attributes: Any,  # noqa: ANN401 - those of click's own option
) -> Callable[[Function], Function]:
    """Return the decorator for an option with a number; any other value becomes a problem."""
    minimum, maximum = limits
    noun = "a whole number" if kind is int else "a number"
    allowed = f"{noun} from {minimum:g} to {maximum:g}"

    def read(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
        if value is None:
            return None
        try:
            number = kind(value)
        except ValueError:
            number = math.nan
        if minimum <= number <= maximum:
            return number
        name = param.opts[0]
        if ctx.get_parameter_source(param.name) is ParameterSource.ENVIRONMENT:
            name = " or ".join(param.envvar or ())
        ctx.obj.problems.append(Problem(name, value, allowed))
        return None

    return click.option(
        name, callback=read, metavar="N", show_default=True, help=text, **attributes
    )


def _show_help(ctx: click.Context, _param: click.Parameter, value: object) -> None:
    if value and not ctx.resilient_parsing:
        write_text(ctx.get_help(), "\n")
        ctx.exit()


def _show_version(ctx: click.Context, _param: click.Parameter, value: object) -> None:
    if value and not ctx.resilient_parsing:
        python = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
        write_text(f"{PROGRAM} {__version__} ({python})\n")
        ctx.exit()


def _enable_debug(ctx: click.Context, _param: click.Parameter, value: object) -> None:
    if value and not ctx.resilient_parsing:
        ctx.obj.enable_debug()


def _flag(names: list[str], callback: Callback, text: str) -> click.Option:
    return click.Option(
        names, is_flag=True, is_eager=True, expose_value=False, callback=callback, help=text
    )


HELP = _flag(["-h", "--help"], _show_help, "Show this text.")
VERSION = _flag(["--version"], _show_version, "Show the version, with Python and platform.")
DEBUG = _flag(
    ["--debug"],
    _enable_debug,
    "Log every request on standard error, and the traceback of an internal error.",
)
ENV_FILE = click.Option(
    ["--env-file"],
    type=FILE,
    metavar="FILE",
    help="Read NAME=value pairs from FILE (lower precedence than flags and environment).",
)
#: Where outputs go besides standard output and the channels of a CI system.
OUTPUTS = [
    click.Option(
        ["--output-dir"],
        type=FILE,
        metavar="DIR",
        help="Write one file per field of the document, except the enrollments:"
        " Tekton, Argo, Concourse.",
    ),
    click.Option(
        ["--dotenv"],
        type=FILE,
        metavar="FILE",
        help="Write the same fields as NAME=value lines: GitLab's dotenv report.",
    ),
]
