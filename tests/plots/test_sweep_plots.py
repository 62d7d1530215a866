"""The figure of a sweep: one line per value of the second parameter, and alternative text."""

import pandas

from nbtools.plots.sweeps import draw_sweep


def test_means_over_seeds_and_failed_runs_left_out():
    rows = [
        {"state": "done", "rate": rate, "size": size, "value": rate * size + seed, "seed": seed}
        for rate in (0.1, 0.2) for size in (10, 20) for seed in (0, 2)
    ]  # fmt: skip
    table = pandas.DataFrame([*rows, {"state": "failed", "rate": 0.1, "size": 10, "value": float("nan"), "seed": 9}])
    picture = draw_sweep(table, x="rate", lines="size")
    assert "size 10: 2.00 at 0.1, 3.00 at 0.2" in picture.alt and "size 20: 3.00 at 0.1, 5.00 at 0.2" in picture.alt
    [axes] = picture.figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.1", "0.2"]
    assert len(axes.lines) == 4 and len(axes.get_legend().get_texts()) == 2
    begun = draw_sweep(table.assign(before=4.5), x="rate", lines="size")
    assert begun.alt.endswith("untrained: 4.50") and len(begun.figure.axes[0].lines) == 5
    assert "untrained" not in draw_sweep(table.assign(before=range(len(table))), x="rate", lines="size").alt
    assert picture.png().startswith(b"\x89PNG")
