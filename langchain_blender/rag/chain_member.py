"""Ask retrieval chains as members of a blend."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import (
    Runnable,
    RunnableAssign,
    RunnableParallel,
    RunnableSequence,
    RunnableWithFallbacks,
)
from langchain_core.runnables.base import RunnableBindingBase

from blender_core.errors import ConfigurationError, MemberError, RefusedError
from blender_core.rag import GroundedCandidate, SourcedMember
from blender_core.runtime.threads import run_sync
from blender_core.types.answer import Usage
from blender_core.types.prompt import Prompt
from langchain_blender.composition import RunnableMember, stated_name
from langchain_blender.members import LangChainMember
from langchain_blender.messages import to_answer
from langchain_blender.rag.documents import to_source
from langchain_blender.rag.question import input_reader
from langchain_blender.tracing import member_config
from langchain_blender.usage import UsageCounter

__all__ = [
    "ChainOutput",
    "RetrievalChainMember",
    "RetrievalWatch",
]


class RetrievalWatch(BaseCallbackHandler):
    """Records the documents that retrievers return during one run; made for one run.

    A retriever may ask others. Only the outermost counts, because the chain used its documents.
    """

    # otherwise an asynchronous run may end before this is called
    run_inline = True

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parents: dict[UUID, UUID | None] = {}
        self._retrievers: set[UUID] = set()
        self._documents: list[Document] = []

    @property
    def ignore_llm(self) -> bool:
        """Always ``True``: models retrieve nothing."""
        return True

    @property
    def ignore_chat_model(self) -> bool:
        """Always ``True``: models retrieve nothing."""
        return True

    @property
    def documents(self) -> list[Document]:
        """The retrieved documents, in the order in which the retrievers ended."""
        with self._lock:
            return list(self._documents)

    def on_chain_start(self, *_args: Any, run_id: UUID, parent_run_id: UUID | None = None, **_kwargs: Any) -> None:
        """Record the parent of a chain's run."""
        self._started(run_id, parent_run_id)

    def on_tool_start(self, *_args: Any, run_id: UUID, parent_run_id: UUID | None = None, **_kwargs: Any) -> None:
        """Record the parent of a tool's run."""
        self._started(run_id, parent_run_id)

    def on_retriever_start(self, *_args: Any, run_id: UUID, parent_run_id: UUID | None = None, **_kwargs: Any) -> None:
        """Record the parent of a retriever's run."""
        self._started(run_id, parent_run_id)
        with self._lock:
            self._retrievers.add(run_id)

    def on_retriever_end(self, documents: Sequence[Document], *, run_id: UUID, **_kwargs: Any) -> None:
        """Record the documents of an outermost retriever."""
        with self._lock:
            above = self._parents.get(run_id)
            while above is not None:
                if above in self._retrievers:
                    return
                above = self._parents.get(above)
            self._documents += documents

    def _started(self, run_id: UUID, parent_run_id: UUID | None) -> None:
        with self._lock:
            self._parents[run_id] = parent_run_id


_ANSWER_KEYS = ("answer", "result", "output", "output_text")
_DOCUMENT_KEYS = ("context", "source_documents", "documents")


@dataclass(frozen=True, slots=True)
class ChainOutput:
    """Holds what a chain returned.

    Attributes:
        output: Its output, unchanged.
        usage: Tokens of its model calls; ``None`` if no call reported them.
    """

    output: Any
    usage: Usage | None = None


class RetrievalChainMember(RunnableMember, SourcedMember):
    """Asks a chain that retrieves and answers.

    The chain may return one of these:

    - a dict with ``answer`` (or ``result``, ``output``) and ``context`` (or ``source_documents``, ``documents``), as
      ``create_retrieval_chain`` makes it;
    - a pair of answer and documents;
    - an agent's state, or the answer alone. The documents are then those that its retrievers returned.

    Citations in the answer count the documents in their order.

    Args:
        runnable: The chain.
        name: Shown in results. Default is the name of the model that answers, else the chain's.
        input: A function from the prompt to the chain's input; ``"auto"`` reads the chain's input schema.
        llm: The LLM that fuses if this chain is the strongest. Default is the model that answers, if it is shown.

    Raises:
        ConfigurationError: It is not a runnable, or its input needs several keys. Pass ``input=function`` then.

    Examples:
        >>> from langchain_core.runnables import RunnableLambda
        >>> chain = RunnableLambda(lambda question: ("8080 [1].", [Document("The port is 8080.")]))
        >>> RetrievalChainMember(chain).answer(Prompt.of("Which port?")).sources[0].text
        'The port is 8080.'
    """

    def __init__(
        self,
        runnable: Runnable[Any, Any],
        *,
        name: str | None = None,
        input: Callable[[Prompt], Any] | str = "auto",
        llm: Any = None,
    ) -> None:
        if not isinstance(runnable, Runnable):
            raise ConfigurationError(f"{type(runnable).__name__} is not a LangChain runnable; pass a retrieval chain")
        if input != "auto" and not callable(input):
            raise ConfigurationError(f'input is {input!r}; use "auto" or a function of the prompt')
        writer = _writer(runnable) if llm is None else llm
        named = LangChainMember(writer, input="messages").name if isinstance(writer, Runnable) else None
        super().__init__(name or named or stated_name(runnable), llm=writer)
        self.runnable = runnable
        self._runs(runnable)
        self._read = input if callable(input) else input_reader(runnable, self.name)

    def answer(self, prompt: Prompt) -> GroundedCandidate:
        """Invoke the chain, blocking.

        Args:
            prompt: The prompt.

        Returns:
            Its answer and its documents.

        Raises:
            MemberError: Its output has no answer, or something that is no ``Document`` among its documents.
        """
        if self._async_only:
            return run_sync(lambda: self.aanswer(prompt))
        watch, counter = RetrievalWatch(), UsageCounter()
        config = member_config(self.name, prompt.purpose, [watch, counter])
        return self._candidate(self.runnable.invoke(self._read(prompt), config), watch, counter)

    async def aanswer(self, prompt: Prompt) -> GroundedCandidate:
        """Invoke the chain on the event loop; see ``answer``."""
        watch, counter = RetrievalWatch(), UsageCounter()
        config = member_config(self.name, prompt.purpose, [watch, counter])
        return self._candidate(await self.runnable.ainvoke(self._read(prompt), config), watch, counter)

    def _candidate(self, output: Any, watch: RetrievalWatch, counter: UsageCounter) -> GroundedCandidate:
        if isinstance(output, GroundedCandidate):
            return output
        said, documents = self._parts(output)
        answer = counter.applied(to_answer(said))
        if answer.refusal is not None:
            raise RefusedError(answer.refusal)
        found = watch.documents if documents is None else documents
        sources = tuple(to_source(document) for document in found)
        return GroundedCandidate(answer.text, sources, ChainOutput(output, answer.usage))

    def _parts(self, output: Any) -> tuple[Any, Sequence[Document] | None]:
        """Answer and documents; ``None`` if the output holds no documents."""
        if isinstance(output, tuple) and len(output) == 2:
            return output[0], self._documents(output[1])
        if not isinstance(output, Mapping):
            return output, None
        documents = next((output[key] for key in _DOCUMENT_KEYS if key in output), None)
        # some chains return the context as the text of their prompt
        found = None if documents is None or isinstance(documents, str) else self._documents(documents)
        key = next((key for key in _ANSWER_KEYS if key in output), None)
        if key is not None:
            return output[key], found
        if "messages" in output:
            return output, found
        raise MemberError(
            f"{self.name} returned a dict with {', '.join(map(str, output)) or 'nothing'}; it needs the answer under "
            f"one of {', '.join(_ANSWER_KEYS)}"
        )

    def _documents(self, documents: Any) -> Sequence[Document]:
        listed = list(documents) if isinstance(documents, Sequence) and not isinstance(documents, str) else [documents]
        wrong = next((item for item in listed if not isinstance(item, Document)), None)
        if wrong is not None:
            raise MemberError(f"{self.name} returned {type(wrong).__name__} among its documents; return Documents")
        return listed


def _writer(runnable: Runnable[Any, Any]) -> Runnable[Any, Any] | None:
    """The model that writes the answer, with its bound settings; ``None`` if the chain does not show it."""
    found: Runnable[Any, Any] | None = None
    if isinstance(runnable, BaseLanguageModel):
        return runnable
    if isinstance(runnable, RunnableBindingBase):
        inner = _writer(runnable.bound)
        # bound settings belong to a model, not to a chain
        found = runnable if inner is runnable.bound else inner
    elif isinstance(runnable, RunnableWithFallbacks):
        found = _writer(runnable.runnable)
    elif isinstance(runnable, RunnableAssign):
        found = _writer(runnable.mapper)
    elif isinstance(runnable, RunnableParallel):
        found = next((_writer(runnable.steps__[key]) for key in _ANSWER_KEYS if key in runnable.steps__), None)
    elif isinstance(runnable, RunnableSequence):
        found = next((model for step in reversed(runnable.steps) if (model := _writer(step)) is not None), None)
    return found
