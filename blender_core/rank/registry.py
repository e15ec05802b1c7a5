"""Find rankers by name."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from blender_core.errors import ConfigurationError
from blender_core.models.hub import checkpoint_config, is_repository
from blender_core.rank.protocol import Ranker
from blender_core.runtime.extras import require_installed
from blender_core.runtime.keywords import nearest

__all__ = ["RANKER_NAMES", "check_members", "check_ranker", "ready_ranker", "resolve_ranker"]


def _embedded() -> Ranker:
    from blender_core.rank.embedded import EmbeddedRanker

    return EmbeddedRanker.load()


def _behind_http(address: str) -> Ranker:
    from blender_core.rank.http_ranker import HTTPRanker

    return HTTPRanker.parse(address)


def _consensus() -> Ranker:
    from blender_core.rank.lexical_consensus import LexicalConsensusRanker

    return LexicalConsensusRanker()


def _bi_encoder() -> Ranker:
    from blender_core.rank.embedding_rankers import BiEncoderRanker

    return BiEncoderRanker()


def _embedding_consensus() -> Ranker:
    from blender_core.rank.embedding_rankers import EmbeddingConsensusRanker

    return EmbeddingConsensusRanker()


def _longest() -> Ranker:
    from blender_core.rank.baselines import LongestRanker

    return LongestRanker()


def _peers() -> Ranker:
    from blender_core.rank.peers import PeerRanker

    return PeerRanker()


def _random() -> Ranker:
    from blender_core.rank.baselines import RandomRanker

    return RandomRanker()


def _reward_head() -> Ranker:
    from blender_core.rank.reward_head import RewardHeadRanker

    return RewardHeadRanker.load()


# what the name of a ranker behind HTTP begins with
_SCHEMES = ("http://", "https://")

_MAKERS: dict[str, Callable[[], Ranker]] = {
    "bi-encoder": _bi_encoder,
    "consensus": _consensus,
    "embedded": _embedded,
    "embedding-consensus": _embedding_consensus,
    "longest": _longest,
    "peers": _peers,
    "random": _random,
    "reward-head": _reward_head,
}

# "judge:" and the name of a member of the blend
_JUDGE = "judge:"

RANKER_NAMES: tuple[str, ...] = tuple(sorted(_MAKERS))
_KNOWN = (*RANKER_NAMES, "llm-blender/PairRM")
_OTHER_NAMES = "judge:<member>, a checkpoint's path or hub name, or the http(s) address of an endpoint that ranks"


def resolve_ranker(ranker: Ranker | str | os.PathLike[str]) -> Ranker:
    """Find a ranker by name; return a ranker object unchanged.

    A named ranker is loaded once in a process and shared, because rankers keep no state between calls. The address of
    an endpoint that ranks, as ``"URL"`` or ``"URL:MODEL"``, is a name, too: of an ``HTTPRanker``.

    Args:
        ranker: A ranker; ``"embedded"`` (the shipped cross-encoder), ``"reward-head"`` (a head on a small language
            model, needs torch), ``"consensus"`` (word overlap and final answers), ``"embedding-consensus"`` (agreement
            in meaning), ``"bi-encoder"`` (likeness to the prompt), ``"longest"`` or ``"random"`` (baselines),
            ``"peers"`` (the members of a blend judge each other), or ``"judge:<member>"`` (one of them judges). Or the
            folder of an exported ranker or reward head. Or the folder or hub name of a reward model such as
            ``"Skywork/Skywork-Reward-V2-Qwen3-0.6B"``, or of a PairRanker such as ``"llm-blender/PairRM"``; its
            ``config.json`` says which.

    Returns:
        The ranker.

    Raises:
        CheckpointError: No ranker reads this checkpoint.
        ConfigurationError: Neither a ranker nor a known name.
        DownloadError: The repository cannot be downloaded.
        MissingExtraError: The ranker needs a package that is not installed.

    Examples:
        >>> resolve_ranker("consensus").rank("Capital of France?", ["Paris", "Paris!", "Rome"]).best in (0, 1)
        True
    """
    check_ranker(ranker)
    ranker = _as_name(ranker)
    if not isinstance(ranker, str):
        return ranker
    # one lock for each name, so that parallel calls load a model once
    with _lock_of(ranker):
        found = _loaded.get(ranker)
        if found is None:
            found = _named(ranker)
            _keep(ranker, found)
    return found


def ready_ranker(ranker: Ranker | str | os.PathLike[str]) -> Ranker | None:
    """Return a ranker that needs no loading: an object, or a named one that this process has loaded before.

    Args:
        ranker: A ranker that passed ``check_ranker``, or its name.

    Returns:
        The ranker, at once; ``None`` if it has to be loaded, or is being loaded.

    Examples:
        >>> ready_ranker(resolve_ranker("consensus")).name
        'consensus'
    """
    named = _as_name(ranker)
    return _loaded.get(named) if isinstance(named, str) else named


def check_ranker(ranker: Ranker | str | os.PathLike[str]) -> None:
    """Reject a ranker that can never work, without loading weights or asking the hub.

    Args:
        ranker: A ranker, a name, or a checkpoint's path or hub name.

    Raises:
        CheckpointError: A folder holds no checkpoint that a ranker reads.
        ConfigurationError: Neither a ranker nor a known name.
        MissingExtraError: The ranker needs torch, which is not installed.
    """
    ranker = _as_name(ranker)
    if isinstance(ranker, str) and ranker.startswith(_SCHEMES):
        _behind_http(ranker)
        return
    if isinstance(ranker, str):
        if ranker.startswith(_JUDGE):
            if not ranker.removeprefix(_JUDGE).strip():
                raise ConfigurationError(f'ranker={ranker!r} names no judge; write "judge:" and the name of a member')
            return
        folder = bool(ranker) and Path(ranker).is_dir()
        if ranker not in _MAKERS and not folder and not is_repository(ranker):
            raise ConfigurationError(
                f"no ranker is called {ranker!r}, and there is no such folder{nearest(ranker, _KNOWN)}; "
                f"use one of {', '.join(RANKER_NAMES)}, {_OTHER_NAMES}"
            )
        if ranker == "reward-head" or (ranker not in _MAKERS and not _has(ranker, "ranker.json")):
            for module in ("torch", "transformers"):
                require_installed(module, feature=f"ranker={ranker!r}", extra="torch")
        if folder and not (_has(ranker, "ranker.json") or _has(ranker, "reward_head.json")):
            _kind(ranker)
    elif not isinstance(ranker, Ranker) or not isinstance(ranker.name, str):
        raise ConfigurationError(
            f"ranker is {type(ranker).__name__}; use one of {', '.join(RANKER_NAMES)}, {_OTHER_NAMES}, or an object "
            "with a name and rank(prompt, candidates)"
        )


def _as_name(ranker: Ranker | str | os.PathLike[str]) -> Ranker | str:
    return os.fspath(ranker) if isinstance(ranker, os.PathLike) else ranker


def check_members(ranker: object, names: Sequence[str]) -> None:
    """Refuse a ranker that needs members which a blend does not have; nothing is loaded.

    Args:
        ranker: A ranker that passed ``check_ranker``, or its name.
        names: Names of the members.

    Raises:
        ConfigurationError: It names another member, or needs more of them.
    """
    if isinstance(ranker, str) and (ranker == "peers" or ranker.startswith(_JUDGE)):
        ranker = resolve_ranker(ranker)
    missing = [name for name in getattr(ranker, "named_members", ()) if name not in names]
    if missing:
        raise ConfigurationError(
            f"no member is called {missing[0]!r} that could judge{nearest(missing[0], names)}: the members are "
            f"{', '.join(names)}"
        )
    needed = getattr(ranker, "needs_members", 0)
    if len(names) < needed:
        raise ConfigurationError(
            f"{getattr(ranker, 'name', ranker)} needs {needed} members and there are {len(names)}: each judges two "
            'answers of others; use ranker="judge:<member>", or add members'
        )


@functools.lru_cache(maxsize=64)
def _lock_of(_name: str) -> threading.Lock:
    return threading.Lock()


# the last named rankers that this process loaded, the oldest first
_loaded: dict[str, Ranker] = {}
_MOST_LOADED = 8
_keeping = threading.Lock()


def _keep(name: str, ranker: Ranker) -> None:
    with _keeping:
        while len(_loaded) >= _MOST_LOADED:
            del _loaded[next(iter(_loaded))]
        _loaded[name] = ranker


def _named(name: str) -> Ranker:
    if name.startswith(_SCHEMES):
        return _behind_http(name)
    if name in _MAKERS:
        return _MAKERS[name]()
    if name.startswith(_JUDGE):
        from blender_core.rank.llm_judge import LLMJudge

        return LLMJudge(name.removeprefix(_JUDGE))
    if _has(name, "ranker.json"):
        from blender_core.rank.embedded import EmbeddedRanker

        return EmbeddedRanker.load(name)
    if _has(name, "reward_head.json"):
        from blender_core.rank.reward_head import RewardHeadRanker

        return RewardHeadRanker.load(name)
    return _kind(name)(name)


def _has(name: str, file: str) -> bool:
    return (Path(name) / file).is_file()


def _kind(name: str) -> Callable[[str], Ranker]:
    """Choose what loads a checkpoint, by its config.

    Raises:
        CheckpointError: Nothing does.
    """
    from blender_core.rank.cross_encoder import check_one_logit
    from blender_core.rank.pairrm.settings import is_pair_ranker

    config = checkpoint_config(name)
    if is_pair_ranker(config):
        return _pair_ranker
    check_one_logit(config, name)
    return _cross_encoder


def _pair_ranker(name: str) -> Ranker:
    from blender_core.rank.pair_ranker import PairRanker

    return PairRanker.from_pretrained(name)


def _cross_encoder(name: str) -> Ranker:
    from blender_core.rank.cross_encoder import CrossEncoderRanker

    return CrossEncoderRanker.from_pretrained(name, name=Path(name).resolve().name)
