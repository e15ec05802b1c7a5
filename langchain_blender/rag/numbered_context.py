"""Make a chain of a retriever and an LLM that reads numbered documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from langchain_core.documents import Document
from langchain_core.language_models import BaseLanguageModel
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import Runnable, RunnableAssign, RunnableLambda, RunnableParallel, RunnablePick

from blender_core.types.prompt import Prompt
from langchain_blender.composition import first_step, stated_name
from langchain_blender.rag.question import earlier_turns, input_reader, question_only, question_prompt

__all__ = ["numbered", "retrieval_chain"]

_PROMPT = ChatPromptTemplate.from_messages(
    [
        MessagesPlaceholder("chat_history", optional=True),
        (
            "human",
            "Sources:\n{context}\n\nQuestion: {question}\n\n"
            "Answer in one or two sentences from the sources only, and cite them by number, such as [1].",
        ),
    ]
)


def retrieval_chain(retriever: Runnable[Any, list[Document]], answer: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """Make a retrieval chain of a retriever and an LLM.

    Args:
        retriever: A runnable from a question to documents. One whose input schema asks for a dict gets the caller's,
            such as a retriever that reads ``chat_history``.
        answer: A model, which gets earlier turns and a short prompt that asks for citations. Or a chain that takes
            ``context``, the documents as numbered text, and the question as ``question``, ``input`` or ``query``.

    Returns:
        A chain from a question, or a dict as ``BlendedRAG.invoke`` takes it, to this dict with ``question``,
        ``context`` and ``answer``. ``context`` holds the documents in the order of their numbers.

    Examples:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> retriever = RunnableLambda(lambda question: [Document("The port is 8080.")])
        >>> chain = retrieval_chain(retriever, FakeListChatModel(responses=["8080 [1]."]))
        >>> chain.invoke({"question": "Which port?"})["answer"].text
        '8080 [1].'
    """
    writes = _PROMPT | answer if isinstance(first_step(answer), BaseLanguageModel) else answer
    query = input_reader(retriever, stated_name(retriever), otherwise=question_only)
    retrieves = RunnableAssign(RunnableParallel(context=RunnablePick(_QUERY) | retriever))
    # the result of RunnablePassthrough.assign cannot be pickled
    answers = RunnableAssign(RunnableParallel(answer=_Step(_shown).runnable() | writes))
    return _Step(partial(_read, query)).runnable() | retrieves | answers


# the retriever's input, next to the caller's keys
_QUERY = "retriever_input"


class _Step:
    """A function as a runnable that can be pickled, and blocks nothing when it is awaited."""

    def __init__(self, function: Callable[[Any], dict[str, Any]]) -> None:
        self._function = function

    def runnable(self) -> Runnable[Any, dict[str, Any]]:
        return RunnableLambda(self.call, self.acall)

    def call(self, given: Any) -> dict[str, Any]:
        return self._function(given)

    async def acall(self, given: Any) -> dict[str, Any]:
        return self._function(given)


def _read(query: Callable[[Prompt], Any], given: Any) -> dict[str, Any]:
    prompt = question_prompt(given)
    keys = dict(given) if isinstance(given, Mapping) else {}
    return {**keys, "question": question_only(prompt), "chat_history": earlier_turns(given), _QUERY: query(prompt)}


def _shown(found: Mapping[str, Any]) -> dict[str, Any]:
    question = found["question"]
    return {**found, "context": numbered(found["context"]), "input": question, "query": question}


def numbered(documents: Sequence[Document]) -> str:
    r"""Write documents as numbered text.

    Args:
        documents: The documents.

    Returns:
        One paragraph for each document, numbered from 1.

    Examples:
        >>> numbered([Document("The sky is blue."), Document("Grass is green.")])
        '[1] The sky is blue.\n\n[2] Grass is green.'
    """
    return "\n\n".join(f"[{number}] {document.page_content}" for number, document in enumerate(documents, start=1))
