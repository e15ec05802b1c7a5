"""Open ONNX models with onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from blender_core.errors import CheckpointError

__all__ = ["open_session"]


def open_session(
    model: str | bytes, *, source: str, threads: int | None = None, providers: Sequence[Any] = ("CPUExecutionProvider",)
) -> Any:
    """Open a model, with onnxruntime's warnings hidden.

    Args:
        model: A file's path, or its bytes.
        source: Where it came from, for messages.
        threads: CPU threads of one forward pass; default onnxruntime's choice.
        providers: Execution providers, the preferred one first.

    Returns:
        An ``onnxruntime.InferenceSession``.

    Raises:
        CheckpointError: onnxruntime cannot read it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    # hides warnings about initialisers, which users cannot act on
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options, providers=list(providers))
    except Exception as error:  # onnxruntime's exception classes differ between builds
        raise CheckpointError(f"{source} cannot be read by onnxruntime: {error}") from error
