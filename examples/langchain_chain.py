"""A LangChain chain on a blend of three local LLMs.

Shows that the blend stands wherever one chat model does, and what it tells about its members. Needs no key: the
models install from PyPI at the first run.
"""

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from rich.console import Console
from rich.table import Table

from blender_core.local import local_ensemble
from langchain_blender import BlendedLLM
from langchain_blender.local import local_chat_models


def main() -> None:
    prompt = ChatPromptTemplate.from_template("Answer in one or two sentences: {question}")
    with local_ensemble() as servers:
        llm = BlendedLLM(llms=local_chat_models(servers), timeout=120)
        console = Console()
        console.print((prompt | llm | StrOutputParser()).invoke({"question": "Why do leaves fall in autumn?"}))

        message = llm.invoke("Name the largest planet of the solar system.")
        blend = message.response_metadata["blend"]
        table = Table("member", "rank", "score", "seconds", "answer", title=f"won: {blend['winner']}")
        for candidate in blend["candidates"]:
            cells = (candidate[key] for key in ("model", "rank", "score", "latency_s", "text"))
            table.add_row(*(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells))
        console.print(table)


if __name__ == "__main__":
    main()
