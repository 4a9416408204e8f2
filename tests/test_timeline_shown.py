"""What experiments.timeline says and draws is what the points say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text
from mpl_toolkits.axes_grid1.inset_locator import BboxConnectorPatch

from experiments import timeline
from kernels.measure import results
from plots import timeline as figure
from tests.points import timeline_point

STEP = [("matmul", 3e-4), ("launch gap", 5e-5), ("gates", 1e-4), ("launch gap", 5e-5)]
PERSISTENT = [
    ("weights", 4e-6),
    *[("matmul", 2e-6), ("gates", 5e-7), ("barrier", 2.5e-7)] * 8,
    ("grid barrier", 5e-6),
    ("loss, sums, update", 1e-6),
    ("launch gap", 1e-6),
]
STEPWISE = [*[("gates", 1e-4), ("matmul", 3e-4)] * 20, ("loss, sums, update", 1e-3)]
FUSED = [("weights", 2e-4), ("matmul and gates", 4e-3), ("loss, sums, update", 8e-4)]


@pytest.mark.parametrize(
    ("engine", "spans", "said"),
    [
        ("graph", STEP, "20% of a step's 500 µs are gaps between 2 kernels"),
        (
            "persistent",
            PERSISTENT,
            "21% of a step's 33.0 µs are waits, 6% for a block's other threads and 15% for all blocks; 48% are "
            "products",
        ),
        ("stepwise", STEPWISE, "67% of a step's 9,000 µs are 20 products, the rest is what lies between them"),
        ("fused", FUSED, "80% of a step's 5,000 µs are one parallel region, in which nobody waits for anybody"),
    ],
)
def test_a_sentence_for_each_engine(engine: str, spans: list[tuple[Any, float]], said: str) -> None:
    assert timeline.sentence(timeline_point(engine, spans)) == f"{engine}, cuda-cupy-tensor: {said}"


def _bars(axes: Any) -> dict[str, list[tuple[float, float]]]:
    """Begin and length of each bar of a strip, by phase."""
    return {
        bars.get_label(): [(path.vertices[:, 0].min(), np.ptp(path.vertices[:, 0])) for path in bars.get_paths()]
        for bars in axes.collections
    }


def _texts(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_the_figure_holds_every_span_where_it_was() -> None:
    drawn = figure.draw(results.new("x", [], [timeline_point("graph", STEP)], ceilings=None))
    strip = drawn.axes[0]
    found = _bars(strip)
    np.testing.assert_allclose(found["matmul"], [(0, 300)])
    np.testing.assert_allclose(found["gates"], [(350, 100)])
    np.testing.assert_allclose(found["launch gap"], [(300, 50), (450, 50)])
    assert strip.get_xlim() == pytest.approx((0, 500))
    texts = _texts(drawn)
    assert "graph, cuda-cupy-tensor: 500 µs" in texts
    for phase, microseconds, share in (
        ("matmul", "300", "60.0%"),
        ("gates", "100", "20.0%"),
        ("launch gap", "100", "20.0%"),
    ):
        assert texts[texts.index(phase) + 1 : texts.index(phase) + 3] == [microseconds, share]
    assert any(text.endswith("LSTM of 128, batch 128\nunwatched a step took 500 (graph)") for text in texts)


def test_steps_of_like_length_share_a_scale_and_others_are_compared_by_a_line() -> None:
    like = figure.draw(
        results.new("x", [], [timeline_point("stepwise", STEPWISE), timeline_point("fused", FUSED)], ceilings=None)
    )
    strips = [axes for axes in like.axes if axes.get_title(loc="left")]
    assert [strip.get_xlim()[1] for strip in strips] == pytest.approx([9000, 9000])
    assert not any("its own scale" in text for text in _texts(like))
    unlike = [
        timeline_point("stepwise", STEPWISE),
        timeline_point("persistent", PERSISTENT),
        timeline_point("x", [], status="skipped"),
    ]
    drawn = figure.draw(results.new("x", [], unlike, ceilings=None))
    strips = [axes for axes in drawn.axes if axes.get_title(loc="left")]
    assert [strip.get_xlim()[1] for strip in strips] == pytest.approx([9000, 33])
    lines = [next(line for line in strip.lines if not line.get_clip_on()) for strip in strips]
    assert [line.get_xdata()[1] for line in lines] == pytest.approx([1, 33 / 9000])
    assert any("each strip has its own scale" in text for text in _texts(drawn))


def test_a_part_is_enlarged_where_there_is_something_to_see() -> None:
    drawn = figure.draw(
        results.new("x", [], [timeline_point("stepwise", STEPWISE * 4), timeline_point("fused", FUSED)], ceilings=None)
    )
    (part,) = (axes for axes in drawn.axes if axes.collections and not axes.get_title(loc="left"))
    begin, end = part.get_xlim()
    assert (begin, end) == pytest.approx((0.15 * 36_000, 0.185 * 36_000))
    (area,) = (artist for artist in drawn.artists if isinstance(artist, BboxConnectorPatch))
    drawn.draw_without_rendering()
    corners = {tuple(corner) for corner in area.get_path().vertices.round(6)}
    strip = next(axes for axes in drawn.axes if axes.get_title(loc="left").startswith("stepwise"))
    above = strip.get_xaxis_transform().transform([(begin, 0), (end, 0)])
    below = part.transAxes.transform([(0, 1), (1, 1)])
    assert corners == {tuple(corner) for corner in np.concatenate([above, below]).round(6)}
    assert not any(label.get_bbox_patch() for label in strip.get_xticklabels()), "nothing hides what leads there"
    inside = [bar for own in _bars(part).values() for bar in own if begin < bar[0] < end]
    assert len(inside) >= 4
