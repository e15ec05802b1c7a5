"""Blended RAG with LangChain: three retrieval chains that cut the documents differently, answered as one.

Shows the answer with its citations, the documents behind it, and the ranking of the chains. Needs no key;
``BLENDED_LLM_ENDPOINTS="URL:MODEL URL:MODEL"`` asks hosted models instead.
"""

from itertools import cycle

from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_text_splitters import RecursiveCharacterTextSplitter
from rich.console import Console

from blender_core.view import blend_table
from langchain_blender import open_chat_models
from langchain_blender.rag import BlendedRAG, EncoderEmbeddings

HANDBOOK = """The library opens at nine in the morning and closes at eight in the evening. On Sundays it stays closed.

A reader may borrow ten books at a time. Books are lent for four weeks, films for one week.

A loan can be renewed twice, unless somebody has reserved the book. Renewals are made at the desk or on the web site.

Who brings a book back late pays fifty cents a day. Children pay nothing.

There are forty places to work on the second floor. The quiet room beside them has no telephone and no printer."""


def retriever(chunk_size: int, embeddings: Embeddings):
    chunks = RecursiveCharacterTextSplitter(chunk_size=chunk_size, chunk_overlap=0).create_documents([HANDBOOK])
    return InMemoryVectorStore.from_documents(chunks, embeddings).as_retriever(search_kwargs={"k": 2})


def main() -> None:
    console = Console()
    embeddings = EncoderEmbeddings()
    with open_chat_models(max_tokens=64) as chat_models:
        chains = {
            f"chunks of {size}": (retriever(size, embeddings), model)
            for size, model in zip((80, 130, 260), cycle(chat_models), strict=False)
        }
        found = BlendedRAG(chains, timeout=120).invoke("How often can I renew a book?")
    console.print(found["answer"], markup=False)
    for number, document in enumerate(found["context"], start=1):
        console.print(f"[{number}] {document.page_content}", markup=False, style="dim")
    console.print(blend_table(found["blend"]))


if __name__ == "__main__":
    main()
