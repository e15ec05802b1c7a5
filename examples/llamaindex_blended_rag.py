"""Blended RAG with LlamaIndex: three query engines over chunks of three sizes, answered as one.

Shows the answer, the source nodes with who used them, and the ranking of the engines. Needs no key;
``BLENDED_LLM_ENDPOINTS="URL:MODEL URL:MODEL"`` asks hosted models instead.
"""

from itertools import cycle

from llama_index.core import Document, VectorStoreIndex
from llama_index.core.node_parser import SentenceSplitter
from rich.console import Console

from blender_core.view import blend_table
from llamaindex_blender import open_llms
from llamaindex_blender.rag import BlendedQueryEngine, EncoderEmbedding

HANDBOOK = """The library opens at nine in the morning and closes at eight in the evening. On Sundays it stays closed.
A reader may borrow ten books at a time. Books are lent for four weeks, films for one week.
A loan can be renewed twice, unless somebody has reserved the book. Renewals are made at the desk or on the web site.
Who brings a book back late pays fifty cents a day. Children pay nothing.
There are forty places to work on the second floor. The quiet room beside them has no telephone and no printer."""


def main() -> None:
    console = Console()
    embedding = EncoderEmbedding()
    with open_llms(max_tokens=64) as llms:
        engines = {}
        for size, llm in zip((55, 90, 160), cycle(llms), strict=False):
            splitter = SentenceSplitter(chunk_size=size, chunk_overlap=0)
            nodes = splitter.get_nodes_from_documents([Document(text=HANDBOOK)])
            index = VectorStoreIndex(nodes, embed_model=embedding)
            engines[f"chunks of {size}"] = index.as_query_engine(llm=llm, similarity_top_k=2)
        response = BlendedQueryEngine(engines, timeout=120).query("How often can I renew a book?")
    console.print(str(response), markup=False)
    for number, found in enumerate(response.source_nodes, start=1):
        used = ", ".join(found.node.metadata["blend"]["used_by"])
        console.print(f"[{number}] {found.node.get_content()} (used by {used})", markup=False, style="dim")
    console.print(blend_table(response.metadata["blend"]))


if __name__ == "__main__":
    main()
