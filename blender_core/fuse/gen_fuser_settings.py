"""What a trained fuser's folder says about its own input: a model must be fed as it was trained."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blender_core.errors import CheckpointError

__all__ = ["SETTINGS_FILE", "GenFuserSettings", "stored_settings"]

SETTINGS_FILE = "gen_fuser.json"
"""Name of the file in a trained fuser's folder."""


@dataclass(frozen=True, slots=True)
class GenFuserSettings:
    """Defaults of `GenFuser.from_pretrained` for one trained fuser.

    Attributes:
        prompt_format: The layout it was trained on.
        max_length: Most tokens of the input.
        candidate_max_length: Most tokens of one candidate; ``None`` for the layout's default.
        generation: Arguments of ``generate``.
    """

    prompt_format: str = "auto"
    max_length: int | None = None
    candidate_max_length: int | None = None
    generation: Mapping[str, Any] = field(default_factory=dict)

    def save(self, folder: str | Path) -> Path:
        """Write the settings into a model's folder.

        Args:
            folder: The folder.

        Returns:
            The file.
        """
        path = Path(folder) / SETTINGS_FILE
        path.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: str | Path) -> GenFuserSettings:
        """Read the settings.

        Args:
            path: The file.

        Returns:
            The settings.

        Raises:
            CheckpointError: It is no such file.
        """
        try:
            return cls(**json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"{path} holds no settings of a fuser: {error}") from error


def stored_settings(name_or_path: str, **source: Any) -> GenFuserSettings:
    """What a model's folder or repository says about its input.

    Args:
        name_or_path: A folder or a hub repository.
        source: ``revision``, ``cache_dir`` and ``local_files_only`` of the repository.

    Returns:
        Its settings; empty ones where it says nothing, as the published fusers do.

    Raises:
        CheckpointError: Its file of settings cannot be read.
    """
    from transformers.utils.hub import cached_file

    found = cached_file(
        name_or_path,
        SETTINGS_FILE,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
        **source,
    )
    return GenFuserSettings() if found is None else GenFuserSettings.load(str(found))
