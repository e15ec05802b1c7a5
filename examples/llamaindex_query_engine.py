"""A LlamaIndex query engine on a blend of local LLMs.

Shows that the blend stands wherever one LLM does, and what it tells about its members. Needs no key;
``BLENDED_LLM_ENDPOINTS="URL:MODEL URL:MODEL"`` asks hosted models instead.
"""

from llama_index.core import Document, SummaryIndex
from rich.console import Console

from blender_core.view import blend_table
from llamaindex_blender import BlendedLLM, open_llms


def main() -> None:
    console = Console()
    documents = [Document(text="Cologne lies on the Rhine."), Document(text="Dresden lies on the Elbe.")]
    with open_llms(max_tokens=48) as llms:
        llm = BlendedLLM(llms=llms, timeout=120)
        engine = SummaryIndex.from_documents(documents).as_query_engine(llm=llm)
        console.print(str(engine.query("On which river does Dresden lie?")), markup=False)

        response = llm.complete("Name the largest planet of the solar system.")
        console.print(blend_table(response.raw["blend"]))


if __name__ == "__main__":
    main()
