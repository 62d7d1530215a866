"""A real kernel in which a cell with a view is run again and again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

TIMES = 15
START = """
import gc, tracemalloc
import nbtools
from tests.small_models import tiny
lm = tiny(context=1024)
text = " ".join(["The plot was thin, but the acting was good."] * 70)
def alive():
    gc.collect()
    return tracemalloc.get_traced_memory()[0]  # of Python and NumPy: what the process holds also depends on its allocator
def size(view):
    reading = view.reading
    return sum(one.nbytes for one in (reading.trace.weights, reading.queries, reading.keys, reading.values))
tracemalloc.start()
"""
CELL = "nbtools.AttentionExplorer(lm, text)"


@pytest.fixture(scope="module")
def kernel() -> Iterator[BlockingKernelClient]:
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=300)
        run(client, START)
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def run(client: BlockingKernelClient, code: str, value: str = "None") -> int:
    """Execute a cell as a front end does, and return what `value` then is."""
    reply = client.execute_interactive(code, user_expressions={"value": value}, output_hook=lambda message: None, timeout=600)["content"]
    assert reply["status"] == "ok", reply
    said = reply["user_expressions"]["value"]["data"]["text/plain"]
    return 0 if said == "None" else int(said)


@pytest.mark.slow(25)
def test_a_cell_with_a_view_that_is_run_again_does_not_let_the_process_grow(kernel: BlockingKernelClient) -> None:
    """Every run left its view, with all weights, queries, keys and values, to IPython's `Out`."""
    for _ in range(3):
        run(kernel, CELL)
    one = run(kernel, "", "size(_)")
    before = run(kernel, "", "alive()")
    for _ in range(TIMES):
        run(kernel, CELL)
    assert run(kernel, "", "len(Out)") > TIMES, "Out holds every view"
    grown = run(kernel, "", "alive()") - before
    assert one > 10e6 and grown < TIMES * one / 10, f"{grown / TIMES / 1e6:.1f} MB a run, where a view holds {one / 1e6:.1f} MB"
