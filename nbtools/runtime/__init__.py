"""Where am I: host, device, number format, memory, seeds, secrets, places on disk, progress."""

from nbtools.runtime.allocator import keep_freed_memory
from nbtools.runtime.compute import (
    NumberFormat,
    allowed_processors,
    available_memory,
    choose_dtype,
    choose_threads,
    device,
    measure_matmul,
    peak_memory,
    seed_everything,
    total_memory,
)
from nbtools.runtime.destinations import Kind, destination, replace_text, resolve_path
from nbtools.runtime.files import (
    alone,
    cache_folder,
    cached,
    disk_is_full,
    put_in_place,
    runs_folder,
    set_aside,
    spreadsheet_cell,
    usual_cache,
    write_text,
)
from nbtools.runtime.host import cell_request, headless, hub_offline, hub_state, hub_token_source, interactive, name_host
from nbtools.runtime.installing import index_unreachable, ran_out_of_disk, run_installer
from nbtools.runtime.output import decoration, say, tolerant_output, without_surrogates
from nbtools.runtime.progress import progress, progress_wanted, quiet_libraries

__all__ = [
    "Kind",
    "NumberFormat",
    "allowed_processors",
    "alone",
    "available_memory",
    "cache_folder",
    "cached",
    "cell_request",
    "choose_dtype",
    "choose_threads",
    "decoration",
    "destination",
    "device",
    "disk_is_full",
    "headless",
    "hub_offline",
    "hub_state",
    "hub_token_source",
    "index_unreachable",
    "interactive",
    "keep_freed_memory",
    "measure_matmul",
    "name_host",
    "peak_memory",
    "progress",
    "progress_wanted",
    "put_in_place",
    "quiet_libraries",
    "ran_out_of_disk",
    "replace_text",
    "resolve_path",
    "run_installer",
    "runs_folder",
    "say",
    "seed_everything",
    "set_aside",
    "spreadsheet_cell",
    "tolerant_output",
    "total_memory",
    "usual_cache",
    "without_surrogates",
    "write_text",
]
