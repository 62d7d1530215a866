"""The machine that runs this code: host, device, number format, threads, memory, seeds, secrets, and output to a person."""

from nbtools.system.allocator import keep_freed_memory
from nbtools.system.compute import (
    NumberFormat,
    allowed_processors,
    choose_dtype,
    choose_threads,
    device,
    keep_threads,
    measure_matmul,
    onednn_is_faster,
    onednn_product,
    seed_everything,
)
from nbtools.system.host import cell_request, headless, interactive, name_host
from nbtools.system.hub import hub_state, hub_token_source
from nbtools.system.installing import index_unreachable, run_installer
from nbtools.system.load import OtherPrograms, wait_for_rest
from nbtools.system.memory import available_memory, peak_memory, total_memory
from nbtools.system.output import decoration, say, spreadsheet_cell, tolerant_output, without_surrogates
from nbtools.system.progress import progress, progress_wanted, quiet_libraries

__all__ = [
    "NumberFormat",
    "OtherPrograms",
    "allowed_processors",
    "available_memory",
    "cell_request",
    "choose_dtype",
    "choose_threads",
    "decoration",
    "device",
    "headless",
    "hub_state",
    "hub_token_source",
    "index_unreachable",
    "interactive",
    "keep_freed_memory",
    "keep_threads",
    "measure_matmul",
    "name_host",
    "onednn_is_faster",
    "onednn_product",
    "peak_memory",
    "progress",
    "progress_wanted",
    "quiet_libraries",
    "run_installer",
    "say",
    "seed_everything",
    "spreadsheet_cell",
    "tolerant_output",
    "total_memory",
    "wait_for_rest",
    "without_surrogates",
]
