"""Kinds of processor: results are stored, shown and compared per kind, because a speed of one says little about another.

A kind is a vendor, the best instruction set for matrix products, and a number of cores: `amd-avx512bf16-2`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# From best to least: the flag in /proc/cpuinfo, its part of the slug, its label. A kind is named after the first that the machine has.
INSTRUCTION_SETS = (
    ("amx_bf16", "amxbf16", "AMX BF16"),
    ("avx512_bf16", "avx512bf16", "AVX-512 BF16"),
    ("avx512f", "avx512", "AVX-512"),
    ("avx2", "avx2", "AVX2"),
    ("bf16", "neonbf16", "NEON BF16"),
    ("asimd", "neon", "NEON"),
)
VENDORS = {
    "amd": ("AMD", ("authenticamd", "amd", "epyc", "ryzen")),
    "intel": ("Intel", ("genuineintel", "intel", "xeon")),
    "apple": ("Apple", ("apple", "0x61")),
    "arm": ("Arm", ("arm", "aarch64", "neoverse", "0x41")),
}
# A product in bf16 takes as long as in fp32 or longer without bf16 units, half as long or less with those of AVX-512 (measured: 0.23), and
# a sixteenth with AMX (Intel's optimization manual: 1,024 operations per cycle and core against 64).
AVX512_BF16, AMX_BF16 = 1.5, 8.0


@dataclass(frozen=True)
class ProcessorKind:
    """A kind of processor."""

    slug: str
    """Name of its result files, such as "amd-avx512bf16-2"."""
    label: str
    """For tables, such as "AMD, AVX-512 BF16, 2 cores"."""


def kind_of(machine: Mapping[str, Any], speeds: Mapping[str, float] | None = None) -> ProcessorKind:
    """The kind of a machine.

    machine  facts as `machine.facts` gives them; `vendor` and `onednn_limit` may be missing
    speeds   measured products, "fp32_gflops" and "bf16_gflops"; used where the facts have no instruction sets
    """
    vendor = _vendor(machine)
    units = set(machine.get("units") or _units(vendor, speeds or {}))
    limit = str(machine.get("onednn_limit") or "").lower()
    if limit:  # oneDNN was told to leave out newer instructions: bf16 is as slow as on a processor without them
        units -= {"amx_bf16"} if limit.endswith("bf16") else {"amx_bf16", "avx512_bf16"}
    found = [(slug, label) for flag, slug, label in INSTRUCTION_SETS if flag in units]
    slug, label = found[0] if found else ("plain", "no vector units known")
    cores = int(machine["cores"])
    name = VENDORS[vendor][0] if vendor in VENDORS else "Other"
    parts = [vendor, slug, str(cores)] + (["limited"] if limit else [])
    limited = f", oneDNN limited to {limit.upper()}" if limit else ""
    return ProcessorKind("-".join(parts), f"{name}, {label}, {cores} core{'s' if cores > 1 else ''}{limited}")


def _vendor(machine: Mapping[str, Any]) -> str:
    system = str(machine.get("system", "")).lower()
    if system.startswith("darwin arm64"):
        return "apple"
    # Windows calls every 64-bit x86 system AMD64, so the system counts for Arm only.
    text = f"{machine.get('vendor', '')} {machine.get('processor', '')} {'arm' if system.endswith(('aarch64', 'arm64')) else ''}".lower()
    return next((slug for slug, (_, words) in VENDORS.items() if any(word in text for word in words)), "other")


def _units(vendor: str, speeds: Mapping[str, float]) -> list[str]:
    """The instruction sets that measured speeds imply, in a result that does not name them."""
    ratio = speeds.get("bf16_gflops", 0.0) / (speeds.get("fp32_gflops") or 1.0)
    if vendor in {"arm", "apple"}:
        return ["asimd", "bf16"] if ratio >= AVX512_BF16 else ["asimd"]
    if vendor == "other" or not speeds:
        return []
    return ["amx_bf16"] if ratio >= AMX_BF16 else ["avx512_bf16"] if ratio >= AVX512_BF16 else ["avx2"]


def kind_of_record(record: Mapping[str, Any]) -> ProcessorKind:
    """The kind of a stored result: the one that it names, else that of its facts and speeds."""
    if "kind" in record:
        return ProcessorKind(record["kind"]["slug"], record["kind"]["label"])
    speeds: dict[str, float] = {}
    for row in _rows(record.get("raw", {})):
        for name in ("fp32_gflops", "bf16_gflops"):
            if name in row:
                speeds[name] = max(speeds.get(name, 0.0), float(row[name]))
    return kind_of(record["machine"], speeds)


def _rows(raw: Any) -> Iterator[Mapping[str, Any]]:
    """Every mapping inside `raw`, at any depth."""
    if isinstance(raw, Mapping):
        yield raw
    if isinstance(raw, (Mapping, list)):
        for part in raw.values() if isinstance(raw, Mapping) else raw:
            yield from _rows(part)
