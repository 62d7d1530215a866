"""Kinds of processor: their names, and results that are stored, found and moved by them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import machine, store
from benchmarks.kinds import ProcessorKind, kind_of, kind_of_record

AMX = ["avx2", "avx512f", "avx512_bf16", "amx_bf16"]


@pytest.mark.parametrize(
    ("facts", "slug", "label"),
    [
        ({"processor": "AMD EPYC", "units": ["avx2", "avx512f", "avx512_bf16"]}, "amd-avx512bf16-2", "AMD, AVX-512 BF16, 2 cores"),
        ({"vendor": "GenuineIntel", "processor": "Intel(R) Xeon(R)", "units": AMX}, "intel-amxbf16-2", "Intel, AMX BF16, 2 cores"),
        ({"vendor": "GenuineIntel", "processor": "", "units": ["avx2", "avx512f"]}, "intel-avx512-2", "Intel, AVX-512, 2 cores"),
        ({"vendor": "0x41", "processor": "aarch64", "units": ["asimd", "bf16"]}, "arm-neonbf16-2", "Arm, NEON BF16, 2 cores"),
        ({"processor": "arm", "units": ["asimd"], "system": "Darwin arm64"}, "apple-neon-2", "Apple, NEON, 2 cores"),
        ({"vendor": "GenuineIntel", "units": ["avx2"], "system": "Windows AMD64"}, "intel-avx2-2", "Intel, AVX2, 2 cores"),
        ({"processor": "riscv64", "units": []}, "other-plain-2", "Other, no vector units known, 2 cores"),
    ],
)
def test_a_kind_is_named_after_vendor_best_instructions_and_cores(facts: dict[str, Any], slug: str, label: str) -> None:
    assert kind_of({"cores": 2, **facts}) == ProcessorKind(slug, label)


def test_a_limited_onednn_is_a_kind_of_its_own() -> None:
    """Else a test of emulated bf16 would replace the real result."""
    facts = {"vendor": "GenuineIntel", "units": AMX, "cores": 1}
    assert kind_of(facts | {"onednn_limit": "AVX512_CORE"}).slug == "intel-avx512-1-limited"
    assert kind_of(facts | {"onednn_limit": "avx512_core_bf16"}).slug == "intel-avx512bf16-1-limited"


@pytest.mark.parametrize(
    ("processor", "bf16", "slug"),
    [
        ("AMD EPYC", 900.0, "amd-avx512bf16-2"),
        ("AMD EPYC", 4.0, "amd-avx2-2"),
        ("Intel(R) Xeon(R)", 3000.0, "intel-amxbf16-2"),
        ("Neoverse-V1", 700.0, "arm-neonbf16-2"),
    ],
)
def test_where_a_result_names_no_instructions_its_speeds_tell(processor: str, bf16: float, slug: str) -> None:
    raw = {"machine": [{"fp32_gflops": 230.0, "bf16_gflops": bf16}], "ours": [{"tokens_per_second": 1.0}]}
    record = {"machine": {"processor": processor, "cores": 2, "units": []}, "raw": raw}
    assert kind_of_record(record).slug == slug


def test_this_machine_has_a_kind() -> None:
    kind = machine.this_kind()
    assert kind == kind_of(machine.facts()) and kind.slug == kind.slug.lower() and " " not in kind.slug


def record(created: str, **more: Any) -> dict[str, Any]:
    facts = {"processor": "AMD EPYC", "cores": 2, "units": ["avx2", "avx512_bf16"]}
    return {"created": created, "minutes": 20.0, "machine": facts, "raw": {}, **more}


def test_a_result_of_the_earlier_layout_moves_to_its_kind(tmp_path: Path) -> None:
    (tmp_path / "some.json").write_text(json.dumps(record("2026-11-24", goals=[1])), encoding="utf8")
    [moved] = store.move_results(tmp_path)
    assert moved == tmp_path / "some" / "amd-avx512bf16-2.json" and not (tmp_path / "some.json").exists()
    assert store.read(moved)["goals"] == [1] and store.read(moved)["kind"]["label"] == "AMD, AVX-512 BF16, 2 cores"
    assert store.move_results(tmp_path) == []


@pytest.mark.parametrize(("created", "kept"), [("2026-11-20", "2026-11-24"), ("2026-11-28", "2026-11-28")])
def test_of_two_results_of_a_kind_the_newer_one_is_kept(tmp_path: Path, created: str, kept: str) -> None:
    store.write(tmp_path / "some" / "amd-avx512bf16-2.json", record("2026-11-24"))
    (tmp_path / "some.json").write_text(json.dumps(record(created)), encoding="utf8")
    store.move_results(tmp_path)
    assert [one["created"] for one in store.stored("some", tmp_path).values()] == [kept]


def test_the_expected_duration_is_of_this_kind_or_of_the_newest_result(tmp_path: Path) -> None:
    here = ProcessorKind("intel-avx2-4", "Intel, AVX2, 4 cores")
    assert store.expected_minutes("some", here, tmp_path) is None
    store.write(tmp_path / "some" / "amd-avx512bf16-2.json", record("2026-11-24"))
    old = record("2026-11-20", minutes=5.0, kind={"slug": "arm-neon-4", "label": "Arm"})
    store.write(tmp_path / "some" / "arm-neon-4.json", old)
    found = store.expected_minutes("some", here, tmp_path)
    assert found is not None and found[0] == 20.0 and found[1].slug == "amd-avx512bf16-2"
    store.write(tmp_path / "some" / "intel-avx2-4.json", record("2026-11-01", minutes=7.0, kind=vars(here)))
    assert store.expected_minutes("some", here, tmp_path) == (7.0, here)
