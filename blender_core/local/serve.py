"""Serve one model with llama.cpp in a separate process.

`blender_core.local.server` runs this file and says why; do not import it.

It reads one line of JSON from stdin: the settings that `LocalServer` makes. It writes one line of JSON to stdout:
``{"address": "http://127.0.0.1:43210"}`` or ``{"error": "..."}``. It serves until stdin closes, which also happens
when the caller dies.
"""

from __future__ import annotations

import json
import os
import signal
import sys

__all__: list[str] = []

_LOG_ERRORS = 1  # llama.cpp's log levels: 0 nothing, 1 errors, 2 warnings, 3 information


def _start(settings: dict[str, object]) -> object:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.verbosity = _LOG_ERRORS
    params.model.path = settings["path"]
    params.model_alias = {settings["name"]}
    params.api_keys = [settings["api_key"]]
    params.n_ctx = int(str(settings["context"])) * int(str(settings["parallel"]))
    params.n_parallel = settings["parallel"]
    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams_batch.n_threads = settings["threads"]
    params.chat_template = settings["chat_template"]
    params.antiprompt = settings["stop"]
    params.sampling.temp = 0.0  # a request that names no temperature gets the same answer each time
    params.use_jinja = True
    params.offline = True
    params.ui = False
    params.fit_params = False  # it loads the model's header twice to size GPU memory
    params.cache_ram_mib = 0  # the default keeps up to 8 GiB of old prompts
    return xllamacpp.Server(params)


def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the caller, who then closes stdin
    settings = json.loads(sys.stdin.readline())
    try:
        server = _start(settings)
        report = {"address": getattr(server, "listening_address")}  # noqa: B009
    except Exception as error:
        server = None
        report = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()
    if server is not None:
        sys.stdin.read()
    os._exit(0 if server is not None else 1)  # joining llama.cpp's threads could wait for a client


if __name__ == "__main__":
    _main()
