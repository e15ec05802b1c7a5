"""A LangGraph agent with two tools, on a blend of models that call tools.

Shows that the members vote on every tool call, and that the call which wins is made as it stands. Needs no key: one
small local model is asked three times; ``BLENDED_LLM_ENDPOINTS="URL:MODEL URL:MODEL"`` asks hosted models instead.
"""

import ast
import operator
from datetime import date

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from rich.console import Console

from blender_core.local import find_model
from blender_core.view import blend_table
from langchain_blender import BlendedLLM, open_chat_models

OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


@tool
def calculate(expression: str) -> str:
    """Work out an arithmetic expression such as 3 * (4 + 5)."""

    def value(node: ast.expr) -> float:
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return node.value
        raise ValueError(f"{expression!r} is more than + - * / of numbers")

    return str(value(ast.parse(expression, mode="eval").body))


@tool
def days_until(day: str) -> str:
    """Count the days from today until a day, which is written as YYYY-MM-DD."""
    return f"{(date.fromisoformat(day) - date.today()).days} days"


def main() -> None:
    console = Console()
    with open_chat_models(models=[find_model("qwen2.5-coder-0.5b")], temperature=0.2, max_tokens=64) as chat_models:
        # a single model is asked three times, and its samples vote
        members = chat_models if len(chat_models) > 1 else chat_models * 3
        llm = BlendedLLM(llms=members, fuser=None, timeout=120, report="full")
        agent = create_agent(llm, tools=[calculate, days_until])
        for question in ("What is 127 times 49? Use a tool.", "How many days is it until 2030-01-01? Use a tool."):
            console.rule(question)
            for message in agent.invoke({"messages": [("user", question)]}, {"recursion_limit": 12})["messages"]:
                if isinstance(message, AIMessage):
                    console.print(blend_table(message.response_metadata["blend"]))
                elif isinstance(message, ToolMessage):
                    console.print(f"the tool {message.name} says: {message.text}", markup=False)


if __name__ == "__main__":
    main()
