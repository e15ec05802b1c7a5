"""The engines that are measured: LlamaIndex query engines over the corpus, with other chunks, retrievers and LLMs."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

from llama_index.core import Document, PromptTemplate, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle

HERE = Path(__file__).parent
# name -> chunk in tokens, retriever, passages, model
ENGINES: dict[str, tuple[int, str, int, str]] = {
    "small chunks, vectors, qwen2.5-coder-0.5b": (64, "vectors", 3, "qwen2.5-coder-0.5b"),
    "large chunks, vectors, smollm2-135m": (160, "vectors", 1, "smollm2-135m"),
    "small chunks, words, qwen2.5-coder-0.5b": (64, "words", 3, "qwen2.5-coder-0.5b"),
    "medium chunks, vectors, qwen2.5-coder-1.5b": (96, "vectors", 2, "qwen2.5-coder-1.5b"),
}
PROMPT = PromptTemplate(
    "Passages:\n{context_str}\n\nAnswer the question from the passages in one short sentence.\n"
    "Question: {query_str}\nAnswer:"
)
_WORD = re.compile(r"\w+")


class WordRetriever(BaseRetriever):
    """BM25 (Robertson and Walker 1994) with k1 = 1.5 and b = 0.75 over words."""

    def __init__(self, nodes: list[BaseNode], top_k: int) -> None:
        super().__init__()
        self._nodes = nodes
        self._top_k = top_k
        self._bags = [Counter(_WORD.findall(node.get_content().lower())) for node in nodes]
        self._seen = Counter(word for bag in self._bags for word in bag)
        self._mean = sum(bag.total() for bag in self._bags) / len(self._bags)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        asked = set(_WORD.findall(query_bundle.query_str.lower()))
        scores = [sum(self._worth(word, bag) for word in asked if word in bag) for bag in self._bags]
        best = sorted(range(len(scores)), key=lambda index: (-scores[index], index))[: self._top_k]
        return [NodeWithScore(node=self._nodes[index], score=scores[index]) for index in best]

    def _worth(self, word: str, bag: Counter[str]) -> float:
        rarity = math.log(1 + (len(self._bags) - self._seen[word] + 0.5) / (self._seen[word] + 0.5))
        return rarity * bag[word] * 2.5 / (bag[word] + 1.5 * (0.25 + 0.75 * bag.total() / self._mean))


def documents() -> list[Document]:
    """The corpus, one document a package."""
    return [
        Document(text=path.read_text(encoding="utf-8"), metadata={"package": path.stem}, id_=path.stem)
        for path in sorted((HERE / "corpus").glob("*.md"))
    ]


def make_nodes(chunk: int) -> list[BaseNode]:
    """The corpus in chunks; a node's id tells its document, chunk size and place, so that runs can be compared."""
    nodes = SentenceSplitter(chunk_size=chunk, chunk_overlap=chunk // 6).get_nodes_from_documents(
        documents(), show_progress=False
    )
    places: Counter[str] = Counter()
    for node in nodes:
        package = str(node.metadata["package"])
        node.id_ = f"{package}/{chunk}/{places[package]}"
        node.text_template = "{metadata_str}: {content}"  # type: ignore[attr-defined]
        node.metadata_template = "{value}"  # type: ignore[attr-defined]
        places[package] += 1
    return list(nodes)


def make_engines(llms: dict[str, Any], embedding: Any) -> dict[str, RetrieverQueryEngine]:
    """All engines; the indexes are built in memory.

    Args:
        llms: Model's name -> LLM. Engines of other models are left out.
        embedding: The embedding model.
    """
    indexes: dict[int, VectorStoreIndex] = {}
    engines = {}
    for name, (chunk, kind, top_k, model) in ENGINES.items():
        if model not in llms:
            continue
        nodes = make_nodes(chunk)
        if kind == "words":
            retriever: BaseRetriever = WordRetriever(nodes, top_k)
        else:
            if chunk not in indexes:
                indexes[chunk] = VectorStoreIndex(nodes, embed_model=embedding)
            retriever = indexes[chunk].as_retriever(similarity_top_k=top_k)
        synthesizer = get_response_synthesizer(llm=llms[model], response_mode="compact", text_qa_template=PROMPT)
        engines[name] = RetrieverQueryEngine(retriever=retriever, response_synthesizer=synthesizer)
    return engines
