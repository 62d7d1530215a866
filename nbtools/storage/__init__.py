"""Files and folders on disk: atomic writes, locks, full disks, destinations, the cache, and JSON from untrusted sources."""

from nbtools.storage.atomic import atomic_folder, keep_backup, replace_text, write_text
from nbtools.storage.destinations import Kind, destination, resolve_path
from nbtools.storage.disk import explain_full_disk, says_disk_full
from nbtools.storage.locations import cache_folder, cached, runs_folder, usual_cache
from nbtools.storage.locks import hold_lock, is_locked, wait_for_lock

__all__ = [
    "Kind",
    "atomic_folder",
    "cache_folder",
    "cached",
    "destination",
    "explain_full_disk",
    "hold_lock",
    "is_locked",
    "keep_backup",
    "replace_text",
    "resolve_path",
    "runs_folder",
    "says_disk_full",
    "usual_cache",
    "wait_for_lock",
    "write_text",
]
