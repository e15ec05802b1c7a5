"""Best of n: one model answers five times at a high temperature, and the best answer is kept.

Shows that an ensemble may be one model sampled again and again. Needs no key;
``BLENDED_LLM_ENDPOINTS="URL:MODEL"`` samples a hosted model instead.
"""

from rich.console import Console

from blender_core import Blender
from blender_core.local import find_model
from langchain_blender import open_chat_models

PROMPT = "How many minutes are there in 3 hours? End with 'The answer is ...'."


def main() -> None:
    console = Console()
    with open_chat_models(models=[find_model("qwen2.5-coder-0.5b")], temperature=1.0, max_tokens=48) as chat_models:
        result = Blender(chat_models[:1] * 5, fuser=None, timeout=120).blend(PROMPT)
    console.print(result)
    console.print(f"won: {result.text}", markup=False)


if __name__ == "__main__":
    main()
