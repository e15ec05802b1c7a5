"""Use an installed wheel a little, as far as its extras reach: python smoke.py [EXTRA ...]."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
import tempfile
from pathlib import Path

from typer.testing import CliRunner

from blender_core import Blender, OpenAIMember
from blender_core.cli.app import app
from blender_core.testing import FakeMember, ScriptedServer

# the modules that an extra brings; "torch" stands for all that come with it
EXTRAS = {
    "langchain": {"langchain_core", "jsonschema"},
    "llamaindex": {"llama_index"},
    "torch": {"torch", "transformers", "safetensors"},
    "encoders": {"sentence_transformers"},
    "train": {"accelerate", "datasets", "gguf", "onnx", "peft", "tensorboard"},
    "eval": {"matplotlib", "rouge_score", "sacrebleu", "scipy"},
    "demo": {"openai", "xllamacpp"},
}
QUESTION = "What is the capital of France?"
COMMANDS = ["", "ask", "rank", "rate", "compare", "models"]
COMMANDS += ["mix", "eval ranker", "eval blend", "train ranker", "train fuser"]
ANSWERS = ["The capital of France is Paris.", "I like turtles."]


def main(extras: set[str]) -> None:
    """Run each part whose extra is installed."""
    import_modules(set().union(*(names for extra, names in EXTRAS.items() if extra not in extras)))
    with tempfile.TemporaryDirectory() as folder:
        use_commands(Path(folder), measures="eval" in extras)
    result = Blender([FakeMember("a", ANSWERS[0]), FakeMember("b", ANSWERS[1])], fuser=None).blend(QUESTION)
    assert result.text == ANSWERS[0], result
    if "langchain" in extras:
        use_langchain()
    if "llamaindex" in extras:
        use_llamaindex()
    if "eval" in extras:
        use_metrics()
    if "demo" in extras:
        use_endpoints()


def import_modules(absent: set[str]) -> None:
    """Import every module of every package; only those of extras that are not installed may fail."""
    for package in ("blender_core", "blender_lab", "langchain_blender", "llamaindex_blender"):
        folder = Path(importlib.util.find_spec(package).submodule_search_locations[0])
        assert "site-packages" in folder.parts, f"{package} comes from {folder}, not from the wheel"
        names = [package, *(f"{package}.{name}" for name in modules(folder))]
        for name in names:
            try:
                importlib.import_module(name)
            except ImportError as error:
                if (error.name or "").split(".")[0] not in absent:
                    raise


def modules(folder: Path) -> list[str]:
    """Name the modules below a folder, without importing them."""
    found = []
    for module in pkgutil.iter_modules([str(folder)]):
        # these two run as programs
        if module.name not in ("__main__", "serve"):
            found.append(module.name)
        if module.ispkg:
            found += [f"{module.name}.{name}" for name in modules(folder / module.name)]
    return found


def command(*arguments: str) -> str:
    """Run a command in this process and return its output."""
    done = CliRunner().invoke(app, list(arguments))
    if done.exit_code:
        raise AssertionError(f"blended-llm {' '.join(arguments)}: {done.output}") from done.exception
    return done.stdout


def use_commands(folder: Path, *, measures: bool) -> None:
    """Run what needs no model; measure a blend if the eval extra is there."""
    script = Path(sys.executable).with_name("blended-llm")
    version = subprocess.run([script, "--version"], check=True, capture_output=True, text=True).stdout
    assert version.startswith("blended-llm "), version
    for name in COMMANDS:
        assert "Usage" in command(*name.split(), "--help")
    command("models")
    pairs = folder / "pairs.jsonl"
    pairs.write_text(json.dumps({"instruction": QUESTION, "candidates": ANSWERS}) + "\n", encoding="utf-8")
    assert json.loads(command("rank", str(pairs), "--json"))["order"][0] == 0
    assert "Paris" in command("rank", str(pairs))
    if measures:
        answers = folder / "answers.jsonl"
        lines = [
            {
                "id": str(number),
                "instruction": QUESTION,
                "output": "",
                "candidates": [
                    {"model": model, "text": text, "scores": {"right": float(model == "a")}}
                    for model, text in zip("ab", ANSWERS, strict=True)
                ],
            }
            for number in range(2)
        ]
        answers.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        shown = command("eval", "blend", str(answers), "--ranker", "longest", "--figures", str(folder / "figures"))
        assert "longest" in shown, shown
        assert list((folder / "figures").glob("*.png"))


def use_langchain() -> None:
    """Blend chat models: one call, a stream, structured output, a configured copy."""
    from langchain_core.runnables import ConfigurableField

    from langchain_blender import BlendedLLM
    from langchain_blender.testing import FakeChatModel

    members = [FakeChatModel(script=[text]) for text in ANSWERS]
    llm = BlendedLLM(llms=members, fuser=None)
    assert llm.invoke(QUESTION).text == ANSWERS[0]
    assert "".join(chunk.text for chunk in llm.stream(QUESTION)) == ANSWERS[0]
    configured = llm.configurable_fields(timeout=ConfigurableField("timeout"))
    assert configured.invoke(QUESTION, {"configurable": {"timeout": 9.0}}).text == ANSWERS[0]


def use_llamaindex() -> None:
    """Blend LLMs: a completion, a stream, a message with sound."""
    from llama_index.core.base.llms.types import AudioBlock, ChatMessage, TextBlock
    from llama_index.llms.blender import BlendedLLM

    from llamaindex_blender.testing import ScriptedLLM

    llm = BlendedLLM(llms=[ScriptedLLM(script=[text]) for text in ANSWERS], fuser=None)
    assert llm.complete(QUESTION).text == ANSWERS[0]
    assert [piece.text for piece in llm.stream_complete(QUESTION)][-1] == ANSWERS[0]
    sound = ChatMessage(blocks=[TextBlock(text=QUESTION), AudioBlock(audio=b"eA==", format="wav")])
    assert llm.chat([sound]).message.content == ANSWERS[0]


def use_metrics() -> None:
    """Score with the overlap metrics."""
    from blender_lab.evaluate.metrics.registry import resolve_metric

    for name in ("rougeL", "bleu", "chrf"):
        (score,) = resolve_metric(name).score(ANSWERS[:1], ANSWERS[:1])
        assert score > 0.9, (name, score)


def use_endpoints() -> None:
    """Ask two members over the OpenAI API."""
    with ScriptedServer({"a": [ANSWERS[0]], "b": [ANSWERS[1]]}) as server:
        members = [OpenAIMember(name, base_url=server.base_url, api_key="none") for name in "ab"]
        assert Blender(members, fuser=None).blend(QUESTION).text == ANSWERS[0]


if __name__ == "__main__":
    main(set(sys.argv[1:]))
