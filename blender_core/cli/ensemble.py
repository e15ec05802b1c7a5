"""The members that `ask` asks: local models, or models behind endpoints."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from blender_core.members.endpoints import Endpoint, endpoints_from_environment
from blender_core.members.member import Member

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from blender_core.local import LocalModel
    from blender_core.local.download import Progress, Stage

__all__ = ["open_members"]


@contextmanager
def open_members(
    models: Sequence[str],
    endpoints: Sequence[str],
    *,
    max_tokens: int | None,
    temperature: float | None,
    console: Console,
) -> Iterator[list[Member]]:
    """Start what has to be started, and stop it in the end.

    Args:
        models: Names of local models; none stands for the default ones where there are no endpoints either.
        endpoints: Each ``URL:MODEL``; without models and endpoints those of ``BLENDED_LLM_ENDPOINTS``, if any.
        max_tokens: Longest answer in tokens.
        temperature: Sampling temperature; default is 0 for local models and the server's for endpoints.
        console: Shows the progress of downloads.

    Yields:
        The members, local ones first.

    Raises:
        ConfigurationError: An unknown model or a malformed endpoint.
        MissingExtraError: The ``demo`` extra is not installed.
        DownloadError: A model's file cannot be had.
    """
    from blender_core.members.openai_member import OpenAIMember

    key = os.environ.get("OPENAI_API_KEY")
    addresses = [Endpoint.parse(endpoint, api_key=key) for endpoint in endpoints]
    if not models and not addresses:
        addresses = list(endpoints_from_environment())
    with ExitStack() as stack:
        members: list[Member] = []
        if models or not addresses:
            from blender_core.local import DEFAULT_MODELS, find_model, local_ensemble

            chosen = [find_model(name) for name in dict.fromkeys(models)] or list(DEFAULT_MODELS)
            with _progress(console) as progress:
                servers = stack.enter_context(local_ensemble(chosen, progress=progress))
            for server in servers:
                member = OpenAIMember(
                    server.model,
                    base_url=server.base_url,
                    api_key=server.api_key,
                    max_tokens=max_tokens,
                    temperature=0.0 if temperature is None else temperature,
                )
                # a base model continues text, it cannot be asked to fuse
                member.follows_instructions = server.kind == "chat"
                members.append(member)
        for address in addresses:
            members.append(
                OpenAIMember(address.model, base_url=address.base_url, max_tokens=max_tokens, temperature=temperature)
            )
        yield members


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    """A function that shows downloads: bars on a terminal, a line for each model elsewhere."""
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
