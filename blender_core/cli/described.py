"""Make a blend's description of `--config`, or of the options that name its members."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blender_core.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from blender_core.config import BlendConfig
    from blender_core.local import LocalModel
    from blender_core.local.download import Progress, Stage
    from blender_core.members.member import Member

__all__ = [
    "BlendPrior",
    "ConfigFile",
    "FuseWhen",
    "FuserName",
    "Quorum",
    "Temperature",
    "Timeout",
    "TopK",
    "connect",
    "described",
    "of_members",
]


def _seconds(text: str) -> float | str:
    # the description checks the number
    try:
        return text if text == "none" else float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither seconds nor none") from None


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="A file that describes the blend (.toml, .yaml, .json); options that are given win.",
        show_default=False,
    ),
]
"""The option ``--config`` of commands that ask an ensemble."""


BlendPrior = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Strength of the members, made by `rate`; none: without. It is read, not written.",
        show_default="the catalogue's, if local models alone answer",
    ),
]
"""The option ``--prior`` of commands that blend."""

FuserName = Annotated[str, typer.Option(help="llm: the strongest member fuses; none: only pick; or a member's name.")]
"""The option ``--fuser``."""

FuseWhen = Annotated[str, typer.Option(help="auto, always or never.")]
"""The option ``--fuse-when``."""

TopK = Annotated[int, typer.Option(help="How many of the best answers are fused.")]
"""The option ``--top-k``."""

Timeout = Annotated[
    float,
    typer.Option(help="Seconds each member gets; none: no limit.", metavar="SECONDS", parser=_seconds),
]
"""The option ``--timeout``."""

Quorum = Annotated[int, typer.Option(help="Answers needed.")]
"""The option ``--quorum``."""

Temperature = Annotated[
    float | None,
    typer.Option(help="Sampling temperature.", show_default="0 for local models, else the server's"),
]
"""The option ``--temperature``."""


def described(context: typer.Context) -> BlendConfig:
    """Describe the blend that a command was asked for, from its options.

    Args:
        context: The command's. ``config``, ``model`` and ``endpoint`` name the members; options with the name of a key
            of a description are its settings. With ``config`` only those count that were given.

    Returns:
        The description.

    Raises:
        ConfigurationError: Something in the file or an option cannot work, or members are named twice.
    """
    from blender_core.config import BlendConfig

    params = context.params
    settings = {name: value for name, value in params.items() if name in BlendConfig.model_fields}
    file = params.get("config")
    if file is None:
        return of_members(params.get("model"), params.get("endpoint"), settings)
    if params.get("model") or params.get("endpoint"):
        raise ConfigurationError("--config names the members; leave --model and --endpoint out, or --config")
    given = {name: value for name, value in settings.items() if _was_given(context, name)}
    return BlendConfig.load(file).with_settings(given)


def of_members(
    models: Sequence[str] | None, endpoints: Sequence[str] | None, settings: Mapping[str, Any]
) -> BlendConfig:
    """Describe a blend of named members.

    Args:
        models: Names of local models.
        endpoints: Each ``URL:MODEL``. Without models and endpoints: those of ``BLENDED_LLM_ENDPOINTS``, else the
            default local models.
        settings: Keys of a description.

    Returns:
        The description.

    Raises:
        ConfigurationError: A name, an endpoint or a setting cannot work.
    """
    from blender_core.config import BlendConfig
    from blender_core.members.endpoints import Endpoint, endpoints_from_environment

    apis = [Endpoint.parse(endpoint) for endpoint in endpoints or ()]
    if not models and not apis:
        apis = list(endpoints_from_environment())
    chosen = list(models or ())
    if not chosen and not apis:
        from blender_core.local import DEFAULT_MODELS

        chosen = [model.name for model in DEFAULT_MODELS]
    members = [{"local": name} for name in chosen] + [{"model": one.model, "base_url": one.base_url} for one in apis]
    return BlendConfig.parse({"members": members}).with_settings(settings)


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT")


def connect(config: BlendConfig, console: Console, *, only: Sequence[int] | None = None) -> list[Member]:
    """Connect the members; show the downloads of local models.

    Args:
        config: The description.
        console: Shows the progress.
        only: Positions in ``config.all_members``; default all.

    Returns:
        The members, then the reserves. Local models run as long as these exist.

    Raises:
        BlendError: What ``blender_core.config.connect_members`` raises.
    """
    from blender_core.config import connect_members

    with _progress(console) as progress:
        return connect_members(config, only=only, progress=progress)


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    """Yield a function that shows downloads: bars on a terminal, else a line per model."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.text import Text

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    seen: dict[str, TaskID] = {}
    announced: set[str] = set()
    words = {"verify": "checking", "hub": "fetching", "packages": "fetching"}
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:

        def report(model: LocalModel, stage: Stage, done: int, total: int) -> None:
            if stage == "ready":
                if model.name in seen:
                    bars.update(seen[model.name], completed=total, total=total)
                return
            if model.name not in seen:
                seen[model.name] = bars.add_task(model.name, total=total)
            if stage != "verify" and model.name not in announced:
                announced.add(model.name)
                line = f"{model.name}: {model.size / 1e6:.0f} MB, licence {model.licence}. {model.licence_note}"
                console.print(Text(line.rstrip()), soft_wrap=True)
            bars.update(seen[model.name], description=f"{words[stage]} {model.name}", completed=done, total=total)

        yield report
