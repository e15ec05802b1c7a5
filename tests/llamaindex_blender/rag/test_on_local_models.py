"""Blended RAG with nothing made up: documentation of real packages, a real encoder, real local LLMs."""

import json
from pathlib import Path

import pytest
from llama_index.core import Document, PromptTemplate, VectorStoreIndex
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.query_engine import RetrieverQueryEngine

from llamaindex_blender import local_llms
from llamaindex_blender.rag import BlendedQueryEngine, BlendedSynthesizer
from llamaindex_blender.rag.encoder_embedding import EncoderEmbedding

pytestmark = [pytest.mark.local_models, pytest.mark.slow, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]

RAG = Path(__file__).parents[3] / "benchmarks" / "rag"
PACKAGES = ("tabulate", "filetype", "tinytag")
PROMPT = PromptTemplate(
    "Passages:\n{context_str}\n\nAnswer the question from the passages in one short sentence.\n"
    "Question: {query_str}\nAnswer:"
)


@pytest.fixture(scope="module")
def llms(local_servers):
    pytest.importorskip("llama_index.llms.openai_like", reason="comes with the extra all")
    return {llm.metadata.model_name: llm for llm in local_llms(local_servers, max_tokens=48)}


@pytest.fixture(scope="module")
def indexes():
    pytest.importorskip("torch", reason="the encoder needs torch")
    documents = [
        Document(text=(RAG / "corpus" / f"{name}.md").read_text(encoding="utf-8"), metadata={"package": name})
        for name in PACKAGES
    ]
    embedding = EncoderEmbedding()
    made = {}
    for size in (64, 160):
        nodes = SentenceSplitter(chunk_size=size, chunk_overlap=size // 6).get_nodes_from_documents(documents)
        for node in nodes:
            node.text_template, node.metadata_template = "{metadata_str}: {content}", "{value}"
        made[size] = VectorStoreIndex(nodes, embed_model=embedding)
    return made


def question(key):
    rows = map(json.loads, (RAG / "questions.jsonl").read_text(encoding="utf-8").splitlines())
    return next((row["question"], row["gold"][0]) for row in rows if row["id"] == key)


def test_engines_over_real_documents(llms, indexes):
    asked, fact = question("q016")
    strong, weak = llms["qwen2.5-coder-0.5b"], llms["smollm2-135m"]
    engines = {
        name: indexes[size].as_query_engine(llm=llm, similarity_top_k=top_k, text_qa_template=PROMPT)
        for name, size, top_k, llm in (("small chunks", 64, 3, strong), ("large chunks", 160, 1, weak))
    }
    response = BlendedQueryEngine(engines, fuser=None, timeout=120).query(asked)
    report = response.metadata["blend"]
    assert {one["status"] for one in report["candidates"]} == {"ok"}
    assert fact in str(response)
    assert report["groundedness"][report["winner"]] > 0
    assert any(found.node.metadata["package"] == "tinytag" for found in response.source_nodes)
    assert all(found.node.metadata["blend"]["used_by"] == [report["winner"]] for found in response.source_nodes)


def test_llms_over_one_retriever(llms, indexes):
    asked, fact = question("q030")
    members = {name: llms[name] for name in ("qwen2.5-coder-0.5b", "smollm2-135m")}
    engine = RetrieverQueryEngine(
        indexes[64].as_retriever(similarity_top_k=3),
        response_synthesizer=BlendedSynthesizer(members, fuser=None, timeout=120, text_qa_template=PROMPT),
    )
    response = engine.query(asked)
    assert fact in str(response)
    assert response.metadata["blend"]["ranking"]["ranker"].startswith("grounded-")
