"""A LangChain chain on a blend of local LLMs.

Shows that the blend stands wherever one chat model does, and what it tells about its members. Needs no key;
``BLENDED_LLM_ENDPOINTS="URL:MODEL URL:MODEL"`` asks hosted models instead.
"""

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from rich.console import Console

from blender_core.view import blend_table
from langchain_blender import BlendedLLM, open_chat_models


def main() -> None:
    console = Console()
    prompt = ChatPromptTemplate.from_template("Answer in one or two sentences: {question}")
    with open_chat_models() as chat_models:
        llm = BlendedLLM(llms=chat_models, timeout=120, report="full")
        chain = prompt | llm | StrOutputParser()
        console.print(chain.invoke({"question": "Why do leaves fall in autumn?"}), markup=False)

        message = llm.invoke("Name the largest planet of the solar system.")
        console.print(blend_table(message.response_metadata["blend"]))


if __name__ == "__main__":
    main()
