"""Make the members that a file describes."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blender_core.config.blend_config import BlendConfig
from blender_core.local import LocalServer, find_model, local_ensemble
from blender_core.local.download import Progress
from blender_core.members.endpoints import Endpoint
from blender_core.members.member import Member

__all__ = ["connect_members", "fuser_of", "keywords_of"]

# a local server runs as long as a member that asks it exists
_SERVERS: weakref.WeakKeyDictionary[Member, LocalServer] = weakref.WeakKeyDictionary()


def connect_members(
    config: BlendConfig,
    *,
    only: Sequence[int] | None = None,
    parallel: int = 2,
    environment: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> list[Member]:
    """Connect the members of a description; start the local ones.

    A local model runs as long as one of the members that ask it exists.

    Args:
        config: The description.
        only: Positions in ``config.all_members``; default all.
        parallel: Requests that a local model answers at the same time.
        environment: Holds the keys; default ``os.environ``.
        progress: Called as the files of local models arrive.

    Returns:
        The members in the file's order, then the reserves.

    Raises:
        ConfigurationError: A key is not there.
        MissingExtraError: The ``demo`` extra is not installed.
        DownloadError: A local model's file cannot be downloaded.
        CheckpointError: A local model cannot be loaded.
    """
    places = range(len(config.all_members)) if only is None else only
    chosen = [config.all_members[place] for place in places]
    keys = [member.api_key(environment) if member.local is None else "" for member in chosen]
    local = [find_model(member.local) for member in chosen if member.local is not None]
    servers = iter(local_ensemble(local, parallel=parallel, progress=progress) if local else ())
    members: list[Member] = []
    for place, member, key in zip(places, chosen, keys, strict=True):
        server = None if member.local is None else next(servers)
        if server is None:
            endpoint = Endpoint(member.base_url or "", member.model or "", key, context_window=member.context_window)
        else:
            endpoint = Endpoint.of(server, [one.local for one in config.all_members[:place]].count(member.local))
        made = endpoint.member(
            max_tokens=config.answer_tokens(member),
            temperature=config.answer_temperature(member),
            name=config.names[place],
            price=member.token_price,
            options=member.options,
        )
        if server is not None:
            _SERVERS[made] = server
        members.append(made)
    return members


def fuser_of(config: BlendConfig) -> Any:
    """Make the fuser that a description names.

    Args:
        config: The description.

    Returns:
        ``"llm"``, ``None``, a member's name, or a loaded ``GenFuser``.

    Raises:
        ConfigurationError: No member and no folder has this name, and it is no hub name.
        CheckpointError: The checkpoint cannot be loaded.
        MissingExtraError: A GenFuser needs the ``torch`` extra.
    """
    if config.fuser == "none":
        return None
    checkpoint = config.beside(config.fuser)
    if config.fuser == "llm" or config.fuser in config.names or (checkpoint == config.fuser and "/" not in checkpoint):
        # the blend knows its members, and says which there are
        return config.fuser
    from blender_core.fuse.gen_fuser import GenFuser

    return GenFuser.from_pretrained(checkpoint)


def keywords_of(
    config: BlendConfig | Mapping[str, Any] | str | Path, given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Make the arguments of a blender from a description.

    Args:
        config: The description, its file, or what it holds.
        given: Settings that replace those of the description.

    Returns:
        ``members``, ``reserves``, ``fuser`` and the settings.

    Raises:
        BlendError: The file is not valid, a key is not there, or a local model cannot start.
    """
    config = BlendConfig.of(config)
    # read before local models start
    settings = config.settings(given)
    number = len(config.members)
    connected = connect_members(config, only=range(number) if "reserves" in settings else None)
    if "fuser" not in settings:
        settings["fuser"] = fuser_of(config)
    return {"members": connected[:number], "reserves": connected[number:], **settings}
