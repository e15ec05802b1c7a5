"""Share options, consoles, JSON, files, exit codes and error lines between commands."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blender_core.errors import BlendError, ConfigurationError
from blender_core.redaction import redacted

if TYPE_CHECKING:
    from rich.console import Console

    from blender_core.rank.member_prior import MemberPrior
    from blender_core.rank.protocol import Ranker

__all__ = [
    "DEBUG_VARIABLE",
    "EXIT_CODES",
    "Endpoints",
    "ExitCode",
    "LocalModels",
    "PriorFile",
    "RankerName",
    "console",
    "finite",
    "open_prior",
    "ranker_without_members",
    "read_text",
    "reported",
    "tell_error",
    "write_json",
    "write_text",
]

LocalModels = Annotated[
    list[str] | None, typer.Option(help="A local model, see `models`; may be repeated.", show_default=False)
]
"""The option ``--model`` of commands that ask an ensemble."""

Endpoints = Annotated[
    list[str] | None,
    typer.Option(
        metavar="URL:MODEL",
        help="A model of an OpenAI-compatible server; may be repeated. The key is $OPENAI_API_KEY.",
        show_default=False,
    ),
]
"""The option ``--endpoint`` of commands that ask an ensemble."""

RankerName = Annotated[
    str,
    typer.Option(
        help="embedded, reward-head, consensus, embedding-consensus, bi-encoder, longest or random; the folder or hub "
        "name of a ranker or a reward model; or the address of an endpoint that ranks, as URL:MODEL. `ask` and "
        "`batch` also take peers and judge:MEMBER."
    ),
]
"""The option ``--ranker`` of commands that rank."""

PriorFile = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Strength of the members, made by `rate`; none: without.", show_default="none"),
]
"""The option ``--prior`` of commands that rank."""

EXIT_CODES = (
    "Exit codes: 0 done, 1 failed (for example too few answers), 2 wrong usage or input, "
    "3 degraded and --fail-if-degraded, 130 interrupted."
)

DEBUG_VARIABLE = "BLENDED_LLM_DEBUG"
"""Environment variable that shows the traceback of an unexpected error."""


_NOT_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb]")


class ExitCode(IntEnum):
    """Lists the exit codes of the command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    DEGRADED = 3
    INTERRUPTED = 130


def console(*, stderr: bool) -> Console:
    """Make a rich console on one of the standard streams.

    Args:
        stderr: Standard error, for progress; else standard output, for results.

    Returns:
        The console.
    """
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def open_prior(path: str | None) -> MemberPrior | None:
    """Read the member prior that ``--prior`` names; the file is not changed.

    Args:
        path: The file; ``none`` or ``None`` is no prior.

    Returns:
        The prior.

    Raises:
        ConfigurationError: The file cannot be read, or is no member prior.
    """
    if path is None or path == "none":
        return None
    from blender_core.rank.member_prior import MemberPrior

    return MemberPrior.load(os.path.expanduser(path))


def ranker_without_members(name: str) -> Ranker:
    """Load the ranker that ``--ranker`` names, for a command in which no members can be asked to judge.

    Args:
        name: The name.

    Returns:
        The ranker.

    Raises:
        BlendError: It cannot be loaded.
        ConfigurationError: The name is unknown, or the ranker asks the members of a blend.
    """
    from blender_core.rank.registry import resolve_ranker

    ranker = resolve_ranker(name)
    if getattr(ranker, "named_members", ()) or getattr(ranker, "needs_members", 0):
        raise ConfigurationError(
            f"--ranker {name} asks the members of a blend, and this command has none to ask; use `ask` or `batch`, or "
            "another ranker"
        )
    return ranker


@contextmanager
def reported() -> Iterator[None]:
    """Turn an error into one line on standard error and an exit code.

    If ``BLENDED_LLM_DEBUG`` is set, an error from outside the library keeps its traceback.

    Raises:
        typer.Exit: With the exit code.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        typer.echo("blended-llm: interrupted", err=True)
        raise typer.Exit(ExitCode.INTERRUPTED) from error
    except BlendError as error:
        tell_error(str(error))
        wrong_usage = isinstance(error, ConfigurationError)
        raise typer.Exit(ExitCode.USAGE if wrong_usage else ExitCode.FAILED) from error
    except (typer.Exit, typer.Abort, BrokenPipeError):
        raise
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        tell_error(
            f"unexpected {type(error).__name__}: {redacted(str(error))}; set {DEBUG_VARIABLE}=1 for the traceback"
        )
        raise typer.Exit(ExitCode.FAILED) from error


def tell_error(message: str) -> None:
    """Write an error to standard error, as one line without control characters.

    Args:
        message: The message; it may quote what a server or a file said.
    """
    from blender_core.view.wording import one_line

    typer.echo(f"blended-llm: {one_line(message, 2000)}", err=True)


def write_json(value: dict[str, Any], *, indent: int | None = 2) -> None:
    """Write one JSON object to standard output; ``nan`` and infinities become ``null``, controls are escaped.

    Args:
        value: The object.
        indent: Spaces per level; ``None`` writes one line.
    """
    text = json.dumps(finite(value), ensure_ascii=not _is_utf8(), indent=indent, allow_nan=False)
    # JSON keeps these, but terminals obey them and readers of lines split there
    typer.echo(_NOT_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def write_text(text: str) -> None:
    """Write a model's text to standard output; on a terminal, replace control characters.

    Args:
        text: The text.
    """
    from blender_core.view.wording import printable

    # typer.echo would drop escape codes, but a pipe must get the text unchanged
    sys.stdout.write((printable(text) if sys.stdout.isatty() else text) + "\n")
    sys.stdout.flush()


def read_text(path: str) -> str:
    """Read a UTF-8 file, or standard input for ``-``.

    Args:
        path: The file.

    Returns:
        Its text.

    Raises:
        ConfigurationError: It cannot be read.
    """
    try:
        if path == "-":
            return sys.stdin.read()
        with open(os.path.expanduser(path), encoding="utf-8-sig") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}; give a text file in UTF-8, or - for stdin") from error


def finite(value: Any) -> Any:
    """Replace ``nan`` and infinities, which JSON does not have, by ``None``.

    Args:
        value: JSON types.

    Examples:
        >>> finite({"score": float("-inf"), "text": "a"})
        {'score': None, 'text': 'a'}
    """
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_utf8() -> bool:
    return (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
