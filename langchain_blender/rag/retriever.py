"""Blend several retrievers into one, which ranks the union of their documents."""

# No `from __future__ import annotations`: pydantic resolves these annotations at run time.

import asyncio
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.callbacks.manager import BaseRunManager
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config
from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from blender_core.errors import ConfigurationError, MemberError, QuorumError
from blender_core.gather.call import CallRuntime
from blender_core.gather.gatherer import gather
from blender_core.gather.policy import GatherPolicy
from blender_core.gather.spending import Spending
from blender_core.members.member import Member
from blender_core.rag import GroundedCandidate, rank_passages
from blender_core.rag.sources import SourceUnion, unite_sources
from blender_core.rank.registry import check_ranker, resolve_ranker
from blender_core.runtime.numbers import check_number
from blender_core.runtime.program_end import in_context
from blender_core.runtime.threads import call_in_thread, run_sync
from blender_core.types.answer import Answer
from blender_core.types.outcome import MemberOutcome
from blender_core.types.prompt import Prompt
from langchain_blender.composition import RunnableMember
from langchain_blender.rag.documents import BLEND_KEY, SCORE_KEY, to_source, with_metadata
from langchain_blender.tracing import in_config

__all__ = ["BlendedRetriever"]

# k of reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009)
_RANK_OFFSET = 60


class BlendedRetriever(BaseRetriever):
    """Asks several retrievers and orders the union of their documents by a ranker.

    If a retriever fails or times out, the documents of the others are returned. Reciprocal rank fusion of all lists
    gives a first order. The ranker's budget is spent on its leaders, and the others follow in that order.

    Args:
        retrievers: Retrievers, or any runnables from a query to documents. A dict gives them names.
        ranker: ``"embedded"`` (default), another ranker or its name.
        budget: Most forward passes of one call, at least 2 (default 200).
        k: Documents that are returned (default 4); ``None`` returns all. ``invoke`` takes it too.
        timeout: Wall-clock seconds for each retriever, retries included (default 60).
        quorum: Retrievers that must answer (default 1); fewer raise ``QuorumError``.
        policy: A whole gather policy; it replaces ``timeout`` and ``quorum``.

    Raises:
        pydantic.ValidationError: A setting cannot work; the message is the ``ConfigurationError``'s.

    Examples:
        >>> from langchain_core.runnables import RunnableLambda
        >>> left = RunnableLambda(lambda query: [Document("a"), Document("ccc")])
        >>> right = RunnableLambda(lambda query: [Document("ccc"), Document("bb")])
        >>> found = BlendedRetriever(retrievers={"left": left, "right": right}, ranker="longest", k=2).invoke("?")
        >>> [(document.page_content, document.metadata["blend"]["retrieved_by"]) for document in found]
        [('ccc', ['left', 'right']), ('bb', ['right'])]
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", hide_input_in_errors=True)

    retrievers: list[Any] | dict[str, Any]
    ranker: Any = "embedded"
    budget: int = 200
    k: int | None = 4
    timeout: float | None = 60.0
    quorum: int = 1
    policy: GatherPolicy | None = Field(default=None)

    _members: tuple[tuple[str, Member], ...] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        check_ranker(self.ranker)
        self._members = tuple((member.name, member) for member in _members(self.retrievers))
        quorum = self._gather_policy().quorum
        if quorum > len(self._members):
            raise ConfigurationError(f"the quorum is {quorum} but there are {len(self._members)} retrievers; lower it")
        if self.budget < 2:
            raise ConfigurationError(f"budget is {self.budget} forward passes; it must be at least 2")
        _check_k(self.k)
        return self

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        _check_k(k)
        outcomes = _context(run_manager).run(lambda: run_sync(lambda: self._gather(query, in_threads=True)))
        return self._ordered(query, outcomes, k or self.k)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        _check_k(k)
        outcomes = await in_context(lambda: self._gather(query, in_threads=False), _context(run_manager))
        return await call_in_thread(lambda: self._ordered(query, outcomes, k or self.k))

    async def _gather(self, query: str, *, in_threads: bool) -> tuple[MemberOutcome, ...]:
        policy = self._gather_policy()
        members = [member for _, member in self._members]
        clock = asyncio.get_running_loop().time
        runtime = CallRuntime(clock, asyncio.sleep, random.Random(), lambda _event: None, in_threads)
        outcomes = await gather(
            self._members,
            Prompt.of(query),
            policy,
            semaphore=None,
            spending=Spending(policy.budget, members),
            runtime=runtime,
        )
        if sum(outcome.ok for outcome in outcomes) < policy.quorum:
            raise QuorumError(policy.quorum, outcomes)
        return outcomes

    def _ordered(self, query: str, outcomes: Sequence[MemberOutcome], k: int | None) -> list[Document]:
        found = [
            (outcome.member, GroundedCandidate("", tuple(to_source(one) for one in outcome.answer.native)))
            for outcome in outcomes
            if outcome.answer is not None
        ]
        failed = {outcome.member: outcome.reason or outcome.status.value for outcome in outcomes if not outcome.ok}
        union = unite_sources(found)
        ranked = rank_passages(
            resolve_ranker(self.ranker),
            query,
            [linked.source.text for linked in union.sources],
            budget=self.budget,
            first_scores=_reciprocal_ranks(union),
        )
        return [
            with_metadata(
                linked.source.native,
                {
                    SCORE_KEY: ranked.scores[index],
                    BLEND_KEY: {"retrieved_by": list(linked.used_by), "failed": dict(failed)},
                },
            )
            for index in ranked.order[:k]
            for linked in (union.sources[index],)
        ]

    def _gather_policy(self) -> GatherPolicy:
        return self.policy or GatherPolicy(timeout=self.timeout, quorum=self.quorum)


class _RetrieverMember(RunnableMember):
    """Asks a retriever; the answer's ``native`` is its documents."""

    def __init__(self, retriever: Runnable[str, Any], name: str) -> None:
        super().__init__(name)
        self._retriever = retriever
        self._runs(retriever)

    def generate(self, prompt: Prompt) -> Answer:
        if self._async_only:
            return super().generate(prompt)
        return self._answer(self._retriever.invoke(prompt.text, self._config()))

    async def agenerate(self, prompt: Prompt) -> Answer:
        if not self.has_native_async:
            return await super().agenerate(prompt)
        return self._answer(await self._retriever.ainvoke(prompt.text, self._config()))

    def _config(self) -> RunnableConfig:
        return {"run_name": f"retriever:{self.name}"}

    def _answer(self, documents: Any) -> Answer:
        if not isinstance(documents, Sequence) or not all(isinstance(one, Document) for one in documents):
            raise MemberError(f"{self.name} returned {type(documents).__name__}, not a list of Documents")
        return Answer(f"{len(documents)} documents", native=tuple(documents))


def _members(retrievers: Sequence[Any] | Mapping[str, Any]) -> list[_RetrieverMember]:
    listed = list(retrievers.values()) if isinstance(retrievers, Mapping) else list(retrievers)
    if not listed:
        raise ConfigurationError("there are no retrievers; pass at least one")
    for retriever in listed:
        if not isinstance(retriever, Runnable):
            raise ConfigurationError(
                f"{type(retriever).__name__} is not a LangChain runnable; pass retrievers, or RunnableLambda(function)"
            )
    if isinstance(retrievers, Mapping):
        return [_RetrieverMember(retriever, name) for name, retriever in retrievers.items()]
    names: list[str] = []
    for retriever in listed:
        name, copy = retriever.get_name(), 1
        while name in names:
            copy += 1
            name = f"{retriever.get_name()}#{copy}"
        names.append(name)
    return [_RetrieverMember(retriever, name) for retriever, name in zip(listed, names, strict=True)]


def _reciprocal_ranks(union: SourceUnion) -> list[float]:
    """The sum of 1 / (60 + place) over the lists that a source is in; places count from 1."""
    terms: list[list[float]] = [[] for _ in union.sources]
    for numbers in union.numbers:
        for place, number in numbers.items():
            terms[number - 1].append(1.0 / (_RANK_OFFSET + place))
    return [math.fsum(each) for each in terms]


def _check_k(k: int | None) -> None:
    check_number("k", k, least=1, whole=True, none="all documents")


def _context(run_manager: BaseRunManager) -> Any:
    """The context in which retrievers are child runs."""
    # both managers of retrievers have it, their common base has not
    child = run_manager.get_child()  # type: ignore[attr-defined]
    return in_config({**ensure_config(), "callbacks": child})
