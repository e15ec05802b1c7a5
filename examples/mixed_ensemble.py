"""LangChain and LlamaIndex models side by side in one ensemble.

Shows the same members behind a LangChain chat model and behind a LlamaIndex LLM. Needs no key;
``BLENDED_LLM_ENDPOINTS="URL:MODEL URL:MODEL"`` asks hosted models instead.
"""

from rich.console import Console

import langchain_blender
import llamaindex_blender
from blender_core.local import find_model
from blender_core.view import blend_table
from langchain_blender import open_chat_models
from llamaindex_blender import open_llms


def main() -> None:
    console = Console()
    with (
        open_chat_models(models=[find_model("smollm2-135m")], max_tokens=48) as chat_models,
        open_llms(models=[find_model("qwen2.5-coder-0.5b")], max_tokens=48) as llms,
    ):
        members = [chat_models[0], llms[-1]]

        blend = langchain_blender.BlendedLLM(llms=members, fuser=None, report="full")
        message = blend.invoke("Name the capital of Japan.")
        console.print(f"LangChain: {message.text}", markup=False)
        console.print(blend_table(message.response_metadata["blend"]))

        response = llamaindex_blender.BlendedLLM(llms=members, fuser=None).complete("Name the capital of Italy.")
        console.print(f"LlamaIndex: {response.text}", markup=False)
        console.print(blend_table(response.raw["blend"]))


if __name__ == "__main__":
    main()
