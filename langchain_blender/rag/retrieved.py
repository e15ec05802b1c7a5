"""What a chain retrieved on its way to an answer, where its output does not say."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document

__all__ = ["RetrievalWatch"]


class RetrievalWatch(BaseCallbackHandler):
    """Hears what the retrievers of one run return. Made for one run.

    Of a retriever that asks others, such as one that compresses, only the outermost counts: its documents are
    those that the chain went on with.
    """

    # in asynchronous runs, too: before the run's result is there
    run_inline = True

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parents: dict[UUID, UUID | None] = {}
        self._retrievers: set[UUID] = set()
        self._documents: list[Document] = []

    @property
    def ignore_llm(self) -> bool:
        """Models are of no interest."""
        return True

    @property
    def ignore_chat_model(self) -> bool:
        """Models are of no interest."""
        return True

    @property
    def documents(self) -> list[Document]:
        """What was retrieved, in the order in which retrievers were done."""
        with self._lock:
            return list(self._documents)

    def on_chain_start(self, *_args: Any, run_id: UUID, parent_run_id: UUID | None = None, **_kwargs: Any) -> None:
        """Remember whose run it is part of."""
        self._started(run_id, parent_run_id)

    def on_tool_start(self, *_args: Any, run_id: UUID, parent_run_id: UUID | None = None, **_kwargs: Any) -> None:
        """Remember whose run it is part of."""
        self._started(run_id, parent_run_id)

    def on_retriever_start(self, *_args: Any, run_id: UUID, parent_run_id: UUID | None = None, **_kwargs: Any) -> None:
        """Remember whose run it is part of."""
        self._started(run_id, parent_run_id)
        with self._lock:
            self._retrievers.add(run_id)

    def on_retriever_end(self, documents: Sequence[Document], *, run_id: UUID, **_kwargs: Any) -> None:
        """Take the documents of an outermost retriever."""
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
