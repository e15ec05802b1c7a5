"""Rank with a reward model or a reranker behind HTTP: vLLM, TEI, llama.cpp, Cohere, Jina and the like."""

from __future__ import annotations

import asyncio
import functools
import json
import math
import os
import random
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urljoin, urlsplit

from blender_core.errors import BlendError, CheckpointError, ConfigurationError, RankerError
from blender_core.members.classify import http_status
from blender_core.members.retry import RetryPolicy, after_failure
from blender_core.models.conversations import user_and_assistant_turns
from blender_core.rank.asking import asking_now
from blender_core.runtime.extras import require, require_installed
from blender_core.runtime.numbers import check_number
from blender_core.runtime.outside import read_json
from blender_core.runtime.threads import run_sync, stop_if_given_up
from blender_core.text.control_markers import neutralise
from blender_core.text.distinct import distinct_candidates
from blender_core.types.answer import Usage
from blender_core.types.prompt import Prompt, PromptLike
from blender_core.types.ranking import Ranking

if TYPE_CHECKING:
    import httpx

__all__ = ["RANKER_KEY_VARIABLE", "HTTPRanker"]

RANKER_KEY_VARIABLE = "BLENDED_LLM_RANKER_API_KEY"
"""Environment variable with the API key of rankers behind HTTP."""

# URL:MODEL; the first colon after host and port ends the address
_NAME = re.compile(r"(https?://(?:\[[^\]]*\]|[^/:?]+)(?::\d+)?(?:/[^:?]*)?(?:\?[^:]*)?)(?::(.+))?")
# a server answers them for ever, whatever it is sent
_NEVER = {
    301: "mend the URL",
    308: "mend the URL",
    401: "pass a valid api_key, or set " + RANKER_KEY_VARIABLE,
    403: "pass an api_key that may use this model, or set " + RANKER_KEY_VARIABLE,
    404: "mend the URL's path, or the model's name",
    405: "mend the URL's path",
    501: "let the server rank; llama-server needs --reranking and such a model",
}
_REMEDIES = {
    "rate_limited": "lower concurrency, or raise timeout so that the wait fits",
    "timeout": "raise timeout, or lower batch_size",
    "too_long": "serve the model with a larger window, or let the server cut by options",
}
# some hundred bytes an answer are usual, and the texts of the answers if the server repeats them
_MOST_BYTES = 32 * 2**20
# how deep a score may lie in a reply: pooling's [[0.5]], TEI's [{"score": 0.5}]
_DEPTH = 4
_SCORE_KEYS = ("relevance_score", "score", "probs", "data")


@dataclass(frozen=True, slots=True)
class _Dialect:
    """Says how an endpoint is asked; one reader fits all replies.

    Attributes:
        body: Makes the request from the prompt and some candidates.
        one_by_one: Whether a request holds one candidate only.
    """

    body: Callable[[Prompt, Sequence[str]], dict[str, Any]]
    one_by_one: bool = False


def _rerank(prompt: Prompt, texts: Sequence[str]) -> dict[str, Any]:
    return {"query": neutralise(prompt.text), "documents": list(texts)}


def _bare_rerank(prompt: Prompt, texts: Sequence[str]) -> dict[str, Any]:
    """Ask for logits in the words of TEI and of vLLM; each server ignores those of the other."""
    return {**_rerank(prompt, texts), "texts": list(texts), "raw_scores": True, "use_activation": False}


def _score(prompt: Prompt, texts: Sequence[str]) -> dict[str, Any]:
    return {"text_1": neutralise(prompt.text), "text_2": list(texts), "use_activation": False}


def _predict(prompt: Prompt, texts: Sequence[str]) -> dict[str, Any]:
    return {"inputs": [[neutralise(prompt.text), text] for text in texts], "raw_scores": True}


def _classify(prompt: Prompt, texts: Sequence[str]) -> dict[str, Any]:
    turns = [(role, neutralise(text)) for role, text in user_and_assistant_turns(prompt)]
    messages = [{"role": role, "content": text} for role, text in [*turns, ("assistant", texts[0])]]
    return {"messages": messages, "use_activation": False}


def _pooling(prompt: Prompt, texts: Sequence[str]) -> dict[str, Any]:
    return {**_classify(prompt, texts), "task": "classify"}


_DIALECTS = {
    "classify": _Dialect(_classify, one_by_one=True),
    "pooling": _Dialect(_pooling, one_by_one=True),
    "predict": _Dialect(_predict),
    "rerank": _Dialect(_rerank),
    "reranking": _Dialect(_rerank),
    "score": _Dialect(_score),
}
_BARE_RERANK = _Dialect(_bare_rerank)


def _dialect(url: str) -> _Dialect:
    parts = [part for part in urlsplit(url).path.split("/") if part]
    if parts[-1:] == ["rerank"] and not (len(parts) > 1 and re.fullmatch(r"v\d+", parts[-2])):
        return _BARE_RERANK
    dialect = _DIALECTS.get(parts[-1] if parts else "")
    if dialect is None:
        raise ConfigurationError(
            f"the path of {_shown(url)} is no endpoint that ranks; "
            f"end it with one of {', '.join(f'/{name}' for name in sorted(_DIALECTS))}, for example /v1/rerank"
            + ("; pass the model's name as model=" if parts and ":" in parts[-1] else "")
        )
    return dialect


class HTTPRanker:
    """Scores candidates by a reward model or a reranker that a server holds.

    The end of the URL's path chooses what is sent:

    - ``/classify``, ``/pooling``: vLLM, for reward models. One request a candidate, as a chat of user and assistant,
      which the server renders by the model's own chat template. The score is the logit.
    - ``/score``: vLLM, for cross-encoders. Prompt and candidates as texts; the score is the logit.
    - ``/predict``: text-embeddings-inference (TEI), for classifiers with one label. The score is the logit.
    - ``/rerank``: TEI, vLLM and llama.cpp. The score is the logit.
    - ``/v1/rerank``, ``/v2/rerank``, ``/reranking``: Cohere, Jina, Voyage, vLLM, llama.cpp, SGLang and the like. The
      score is what the server calls relevance, mostly in [0, 1].

    Requests that may pass are repeated as members' are: rate limits, timeouts, lost connections, 5xx. Control markers
    in a text are broken up, so that none adds a turn. Safe to call from several threads and event loops.

    Args:
        url: Address of the endpoint, path included.
        model: The model's name there; a server with one model needs none.
        api_key: Sent as bearer token. Default: the environment variable ``BLENDED_LLM_RANKER_API_KEY``, else none.
            Not shown by ``repr``, results or errors.
        name: Shown in results; default is ``"http:"`` and the model, or else host and path.
        timeout: Wall-clock seconds for one ranking, retries included; ``None`` is no limit.
        retry: How often a request is repeated.
        batch_size: Most candidates in one request. TEI allows 32 unless told otherwise.
        concurrency: Most requests at once.
        temperature: Divides the margin between the first two before the sigmoid of the confidence. 1.0 fits logits.
            Relevance in [0, 1] needs a lower one, such as 0.1.
        options: Further fields of each request, such as ``{"truncate": True}``. They override the ranker's own.
        clock: Returns monotonic seconds.
        sleep: Waits the given seconds before a retry.

    Raises:
        ConfigurationError: The URL names no known endpoint, holds a password, or a setting cannot work.
        MissingExtraError: httpx is not installed.

    Examples:
        >>> HTTPRanker("http://127.0.0.1:8000/classify", model="Skywork/Skywork-Reward-V2-Qwen3-0.6B")
        HTTPRanker('http://127.0.0.1:8000/classify', model='Skywork/Skywork-Reward-V2-Qwen3-0.6B')
    """

    # a ranker with this gets the prompt with its turns
    reads_conversations = True
    # ... and with this only answers that can still win
    spends = True

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        name: str | None = None,
        timeout: float | None = 30.0,
        retry: RetryPolicy | None = None,
        batch_size: int = 32,
        concurrency: int = 8,
        temperature: float = 1.0,
        options: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        parts = _checked(url)
        self._dialect = _dialect(url)
        check_number("timeout", timeout, above=0, finite=False, none="no limit")
        check_number("batch_size", batch_size, least=1, whole=True)
        check_number("concurrency", concurrency, least=1, whole=True)
        check_number("temperature", temperature, above=0, finite=False)
        require_installed("httpx", feature="HTTPRanker", extra="demo")
        self._url = url
        self._model = model
        self._key = None if api_key is None else _usable_key(api_key)
        self.name = name or f"http:{model or f'{parts.netloc}{parts.path}'}"
        self._timeout = timeout
        self._retry = retry or RetryPolicy()
        self._batch_size = 1 if self._dialect.one_by_one else batch_size
        self._concurrency = concurrency
        self._temperature = temperature
        self._options = _sendable(options or {})
        self._clock = clock
        self._sleep = sleep
        self._has_worked = False

    @classmethod
    def parse(cls, text: str) -> HTTPRanker:
        """Read ``URL`` or ``URL:MODEL``, as in ``Blender(ranker=...)``.

        Args:
            text: For example ``https://api.cohere.com/v2/rerank:rerank-v4.0-pro``.

        Returns:
            The ranker, with the key in ``BLENDED_LLM_RANKER_API_KEY``.

        Raises:
            ConfigurationError: The text has another form, or the URL names no known endpoint.
            MissingExtraError: httpx is not installed.

        Examples:
            >>> HTTPRanker.parse("http://127.0.0.1:8080/v1/rerank:bge:m3").name
            'http:bge:m3'
        """
        match = _NAME.fullmatch(text)
        if "@" in text.partition("//")[2].partition("/")[0]:
            # a password would be taken for a port or a model
            _checked(text)
        if match is None:
            raise ConfigurationError(
                f"{text.split('@')[-1]!r} is not URL:MODEL; write for example http://127.0.0.1:8000/classify:reward"
            )
        return cls(match[1], model=match[2])

    def rank(self, prompt: PromptLike, candidates: Sequence[str]) -> Ranking:
        """Rank by the server's scores; see ``Ranker.rank``.

        Args:
            prompt: A question, a ``Prompt``, or turns as ``(role, content)``. ``/classify`` and ``/pooling`` send the
                turns, others the conversation as one text.
            candidates: At least one answer.

        Returns:
            The ranking.

        Raises:
            CheckpointError: The served model gives several numbers for one answer, such as a classifier's labels.
            ConfigurationError: The server refuses the key, the path or the model's name, and has ranked nothing before.
            RankerError: It is overloaded, unreachable or too slow, its reply is no list of scores, or it refuses what
                it took before.
        """
        return run_sync(lambda: self.arank(prompt, candidates))

    async def arank(self, prompt: PromptLike, candidates: Sequence[str]) -> Ranking:
        """Rank without blocking the event loop; see ``rank``."""
        asked, distinct = Prompt.of(prompt), distinct_candidates(candidates)
        texts = [neutralise(text) for text in distinct.texts]
        scope = asyncio.timeout(self._timeout)
        try:
            async with scope:
                scores = await self._scores(asked, texts) if texts else []
        except TimeoutError as error:
            raise RankerError(
                f"{self.name} gave no scores within {self._timeout:g} s; {_REMEDIES['timeout']}"
            ) from error
        self._has_worked = self._has_worked or bool(texts)
        return Ranking.from_scores(distinct.spread_scores(scores), ranker=self.name, temperature=self._temperature)

    def warm_up(self) -> None:
        """Ask once, so that a wrong key, path or model shows before the first call.

        Raises:
            BlendError: As of ``rank``.
        """
        self.rank("Hi", ["Hello"])

    async def _scores(self, prompt: Prompt, texts: Sequence[str]) -> list[float]:
        httpx = require("httpx", feature="HTTPRanker", extra="demo")
        ends_at = math.inf if self._timeout is None else self._clock() + self._timeout
        free = asyncio.Semaphore(self._concurrency)
        asking = asking_now()
        asking.admit(self.name, [f"{prompt.text}{text}" for text in texts])
        key = _usable_key(os.environ.get(RANKER_KEY_VARIABLE, "")) if self._key is None else self._key
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        # a client of one ranking: its connections belong to one event loop, and the limit above bounds all waiting
        async with httpx.AsyncClient(headers=headers, timeout=None, verify=_tls()) as client:

            async def batch(part: Sequence[str]) -> list[float]:
                async with free:
                    reply = await self._ask(client, self._body(prompt, part), ends_at)
                    if (tokens := _stated_tokens(reply)) is not None:
                        asking.count(Usage(tokens, 0))
                    return _read(reply, len(part), self.name)

            starts = range(0, len(texts), self._batch_size)
            tasks = [asyncio.ensure_future(batch(texts[start : start + self._batch_size])) for start in starts]
            try:
                parts = await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                # else they outlive their client
                await asyncio.gather(*tasks, return_exceptions=True)
        return [score for part in parts for score in part]

    def _body(self, prompt: Prompt, texts: Sequence[str]) -> bytes:
        named = {} if self._model is None else {"model": self._model}
        return json.dumps({**named, **self._dialect.body(prompt, texts), **self._options}).encode()

    async def _ask(self, client: httpx.AsyncClient, body: bytes, ends_at: float) -> Any:
        """Send a request until it is answered, or cannot be."""
        attempts = 0
        rng = random.Random()
        while True:
            attempts += 1
            stop_if_given_up()
            try:
                return await self._post(client, body)
            except BlendError:
                raise
            except Exception as error:
                left = ends_at - self._clock()
                retry = after_failure(error, self._retry, attempts=attempts, left_s=left, rng=rng)
                if retry.wait_s is None:
                    raise self._ended(error, retry.failure.status.value, retry.failure.reason, attempts) from error
            await self._sleep(retry.wait_s)

    async def _post(self, client: httpx.AsyncClient, body: bytes) -> Any:
        content = bytearray()
        async with client.stream("POST", self._url, content=body) as response:
            async for piece in response.aiter_bytes():
                content += piece
                if len(content) > _MOST_BYTES:
                    raise RankerError(f"{self.name} sent more than {_MOST_BYTES >> 20} MiB; mend the URL's path")
        text = content.decode(errors="replace")
        try:
            reply = read_json(bytes(content))
        except ValueError:
            reply = None
        stated = reply.get("error") if isinstance(reply, Mapping) else None
        if response.status_code == 200 and not stated:
            if reply is None:
                raise RankerError(f"{self.name} sent no JSON: {_short(text)}; mend the URL's path")
            return reply
        raise _Refused(response, text, reply)

    def _ended(self, error: Exception, status: str, reason: str, attempts: int) -> BlendError:
        code = http_status(error)
        tries = ("1 try" if attempts == 1 else f"{attempts} tries") + (f", HTTP {code}" if code else "")
        what = f"{self.name} failed ({status}, {tries}): {reason.removeprefix(_Refused.__name__).lstrip(': ')}"
        if code in _NEVER:
            # what has worked was no mistake of the caller's
            return (RankerError if self._has_worked else ConfigurationError)(f"{what}; {_NEVER[code]}")
        if isinstance(error, require("httpx", feature="HTTPRanker", extra="demo").ConnectError):
            return RankerError(f"{what}; is the server at {_shown(self._url)} running, and is the URL right?")
        return RankerError(f"{what}; {_REMEDIES.get(status, 'see the log of the server at ' + _shown(self._url))}")

    def __repr__(self) -> str:
        return f"HTTPRanker({_shown(self._url)!r}, model={self._model!r})"


class _Refused(Exception):
    """A reply that is an error, with what ``classify`` reads: status, headers, and the error object."""

    def __init__(self, response: httpx.Response, text: str, reply: Any) -> None:
        # some servers repeat the key that they refuse
        key = response.request.headers.get("authorization", "").removeprefix("Bearer ")
        said = _message(reply) or text
        said = _short(said.replace(key, "[api_key]") if key else said)
        if response.is_redirect:
            target = urljoin(str(response.request.url), response.headers.get("location", "?"))
            said = f"a redirect to {_shown(target)}, which is not followed; give that URL"
        super().__init__(said)
        # the error object of a reply with status 200 has the code that counts
        self.response = None if response.status_code == 200 else response
        self.body = reply if isinstance(reply, Mapping) and isinstance(reply.get("error"), Mapping) else None


def _message(reply: Any) -> str:
    """Find the server's words in an error's body."""
    if not isinstance(reply, Mapping):
        return ""
    inner = reply.get("error")
    for held in (inner, reply):
        found = held if isinstance(held, str) else None
        if isinstance(held, Mapping):
            found = next((held[key] for key in ("message", "detail", "msg") if held.get(key)), None)
        if found:
            return found if isinstance(found, str) else json.dumps(found)
    return ""


def _read(reply: Any, count: int, name: str) -> list[float]:
    """Read one score for each candidate from a reply of any dialect.

    Items have an ``index``, or else stand in the order of the candidates.
    """
    items = reply
    if isinstance(reply, Mapping):
        items = next((reply[key] for key in ("results", "data") if isinstance(reply.get(key), list)), None)
    if not isinstance(items, list):
        raise RankerError(f"{name} sent {_short(json.dumps(reply))}, which is no list of scores; mend the URL's path")
    scores: dict[int, float] = {}
    for place, item in enumerate(items):
        index = item.get("index", place) if isinstance(item, Mapping) else place
        if type(index) is not int or not 0 <= index < count or index in scores:
            raise RankerError(
                f"{name} gave a score to candidate {_short(repr(index))} of {count}, or two of them; "
                "mend the server, which has to number them from 0"
            )
        scores[index] = _number(item, name)
    if len(scores) != count:
        raise RankerError(
            f"{name} scored {len(scores)} of {count} candidates; ask for all, perhaps by options={{'top_n': {count}}}"
        )
    return [scores[index] for index in range(count)]


def _number(item: Any, name: str) -> float:
    value = item
    for _ in range(_DEPTH):
        if isinstance(value, Mapping):
            value = next((value[key] for key in _SCORE_KEYS if key in value), None)
        elif isinstance(value, list) and len(value) == 1:
            value = value[0]
    if isinstance(value, list) and len(value) > 1:
        raise CheckpointError(
            f"the model of {name} gives {len(value)} numbers for one answer; a ranker needs a model with one logit"
        )
    try:
        number = float(value) if type(value) in (int, float) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise RankerError(f"{name} gave {_short(repr(item))} for an answer; it must give one finite number")
    return number


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname
        # raises for a port that is none
        parts.port  # noqa: B018
    except ValueError:
        known = None
    if not known or any(character.isspace() for character in url):
        raise ConfigurationError(
            f"{url.split('@')[-1]!r} is no address; write for example http://127.0.0.1:8000/v1/rerank"
        )
    if "@" in parts.netloc:
        raise ConfigurationError(
            f"the URL {_shown(url)} holds a user or a password, which logs would show; pass it as api_key"
        )
    return parts


def _shown(url: str) -> str:
    """Return a URL without what may be secret: user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _usable_key(key: str) -> str:
    key = key.strip()
    # the client's error would show the key
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigurationError("the api_key holds a space, a line break or a letter that no HTTP header can; mend it")
    return key


def _sendable(options: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return dict(json.loads(json.dumps(dict(options))))
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"the options are no JSON ({error}); give texts, numbers, lists and mappings"
        ) from error


def _stated_tokens(reply: Any) -> int | None:
    """Return the tokens that a reply says were read."""
    usage = reply.get("usage") if isinstance(reply, Mapping) else None
    stated = [usage.get(key) for key in ("prompt_tokens", "total_tokens")] if isinstance(usage, Mapping) else []
    return next((count for count in stated if type(count) is int and count >= 0), None)


def _short(text: str) -> str:
    return " ".join(text[:300].split())


@functools.cache
def _tls() -> ssl.SSLContext:
    """Make one TLS context for all: loading the certificates is slow."""
    httpx = require("httpx", feature="HTTPRanker", extra="demo")
    context: ssl.SSLContext = httpx.create_ssl_context()
    return context
