"""Run the command `blended-llm`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and end with an exit code of `blender_core.cli.output.ExitCode`."""
    try:
        from blender_core.cli.app import app

        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                # a model may write characters that the locale cannot encode
                stream.reconfigure(errors="backslashreplace")
        app(prog_name="blended-llm")
    except KeyboardInterrupt:
        sys.exit(130)
