"""What LlamaIndex leaves behind is tidied up, so that warnings stay errors."""

import asyncio
import inspect

import pytest


@pytest.fixture(autouse=True)
def loop_for_core(request):
    """A loop for core's ``asyncio_run``, which takes the current one and closes none."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        yield
        return
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()
    asyncio.set_event_loop(None)
