"""Make a chain of a retriever and an LLM that reads numbered documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.language_models import BaseLanguageModel
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableAssign, RunnableLambda, RunnableParallel, RunnablePassthrough

from langchain_blender.composition import first_step

__all__ = ["numbered", "retrieval_chain"]

_PROMPT = ChatPromptTemplate.from_messages(
    [
        (
            "human",
            "Sources:\n{context}\n\nQuestion: {question}\n\n"
            "Answer in one or two sentences from the sources only, and cite them by number, such as [1].",
        )
    ]
)


def retrieval_chain(
    retriever: Runnable[str, list[Document]], answer: Runnable[Any, Any]
) -> Runnable[str, dict[str, Any]]:
    """Make a retrieval chain of a retriever and an LLM.

    Args:
        retriever: A runnable from a question to documents.
        answer: A model, which gets a short prompt that asks for citations. Or a chain that takes ``context``, the
            documents as numbered text, and the question as ``question``, ``input`` or ``query``.

    Returns:
        A chain from a question to ``{"question", "context", "answer"}``. ``context`` holds the documents in the order
        of their numbers.

    Examples:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> retriever = RunnableLambda(lambda question: [Document("The port is 8080.")])
        >>> chain = retrieval_chain(retriever, FakeListChatModel(responses=["8080 [1]."]))
        >>> chain.invoke("Which port?")["answer"].text
        '8080 [1].'
    """
    writes = _PROMPT | answer if isinstance(first_step(answer), BaseLanguageModel) else answer
    retrieves = RunnableParallel(question=RunnablePassthrough(), context=retriever)
    # the result of RunnablePassthrough.assign cannot be pickled
    return retrieves | RunnableAssign(RunnableParallel(answer=RunnableLambda(_shown, _ashown) | writes))


def _shown(found: Mapping[str, Any]) -> dict[str, Any]:
    question = found["question"]
    return {"context": numbered(found["context"]), "question": question, "input": question, "query": question}


async def _ashown(found: Mapping[str, Any]) -> dict[str, Any]:
    return _shown(found)


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
