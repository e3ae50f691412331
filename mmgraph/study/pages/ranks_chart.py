"""The critical-difference diagram: average ranks on an axis, bars over what cannot be told apart."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmgraph.study.pages.chart import INK, cut
from mmgraph.study.pages.panels import PALETTE, WIDTH
from mmgraph.study.pages.ranks import Ranks

if TYPE_CHECKING:  # takes longer to import than the rest of the package
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 0.19  # inches, the unit of the vertical axis: one label; the axis of ranks is at 0
TOP = 4.2  # rows above it: ticks, ends, CD
STEP = 0.5  # rows between two bars


def ranks_chart(ranks: Sequence[Ranks]) -> "Figure | None":
    """One diagram for each set of competitors."""
    from matplotlib.figure import Figure

    if not ranks:
        return None
    depths = [depth(one) for one in ranks]
    titles = 0.3 * (len(ranks) > 1)
    figure = Figure(figsize=(WIDTH, sum(ROW * (TOP + d) + titles for d in depths) + 0.1), layout="constrained")
    stack = figure.subplots(len(ranks), 1, squeeze=False, height_ratios=[TOP + d for d in depths])[:, 0]
    for axes, rows, one in zip(stack, depths, ranks, strict=True):
        axes.set_ylim(-rows, TOP)
        scale(axes, one)
        elbows(axes, one)
        bars(axes, one)
        if len(ranks) > 1:
            axes.set_title(cut(one.title, 64), loc="left")
    return figure


def depth(one: Ranks) -> float:
    """Rows below the axis: bars, then the labels of the longer side."""
    return below(one) + (len(one.ranks) + 1) // 2


def below(one: Ranks) -> float:
    """Rows between the axis and the first label."""
    return 1 + STEP * (1 + max((level for *_, level in spans(one)), default=-1))


def limits(one: Ranks) -> tuple[float, float]:
    """Ends of the axis: all ranks where the models spread over half of them, else as much as shows models and CD."""
    places, k = list(one.ranks.values()), len(one.ranks)
    low, high = min(places), max(places)
    if max(high - low, one.difference) >= (k - 1) / 2:
        return 1.0, max(float(k), 1 + one.difference)
    return low, max(high, low + one.difference)


def scale(axes: "Axes", one: Ranks) -> None:
    """The axis with its ends in words, and the critical difference above it."""
    from matplotlib.ticker import MaxNLocator

    low, high = limits(one)
    edge = 0.05 * (high - low)
    axes.set_xlim(low - edge, high + edge)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.spines["top"].set_visible(True)
    axes.spines["top"].set_position(("data", 0))
    axes.xaxis.set_ticks_position("top")
    ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high)
    axes.set_xticks([x for x in ticks if max(1, low - edge) <= x <= min(len(one.ranks), high + edge)])
    axes.set_yticks([])
    axes.tick_params(labelsize=8)
    for x, text, side in ((0.0, "← best", "left"), (1.0, "average rank", "right")):
        axes.text(x, 1.9, text, transform=axes.get_yaxis_transform(), ha=side, va="center", fontsize=8.5)
    axes.plot([low, low + one.difference], [3.0, 3.0], "|-", color=INK, linewidth=1.2, markersize=6, gid="cd")
    digits = 2 if one.difference >= 0.1 else 4
    axes.text(low, 3.4, f"CD = {one.difference:.{digits}f}", ha="left", va="bottom", fontsize=8.5)


def elbows(axes: "Axes", one: Ranks) -> None:
    """A line from each rank down and out to its label: the better half left, the others right, outermost first."""
    edges, half = axes.get_xlim(), (len(one.ranks) + 1) // 2
    for at, (label, rank) in enumerate(one.ranks.items()):
        left = at < half
        row = -below(one) - (at if left else len(one.ranks) - 1 - at)
        edge = edges[0] if left else edges[1]
        axes.plot([edge, rank, rank], [row, row, 0], "-", color=INK, linewidth=0.8)
        axes.plot(rank, 0, "o", color=PALETTE[0], markersize=3.5, clip_on=False, zorder=3)
        axes.annotate(cut(label, 18), (edge, row), (-4 if left else 4, 0), textcoords="offset points", va="center",
                      ha="right" if left else "left", fontsize=8.5, annotation_clip=False)


def bars(axes: "Axes", one: Ranks) -> None:
    """A bar over each clique."""
    low, high = axes.get_xlim()
    for first, last, level in spans(one):
        row, over = -STEP * (level + 1), 0.01 * (high - low)
        axes.plot([first - over, last + over], [row, row], "-", color=PALETTE[1], linewidth=3.2,
                  solid_capstyle="butt", zorder=2.5)


def spans(one: Ranks) -> list[tuple[float, float, int]]:
    """First and last rank of each clique, and its level: the first on which it comes close to none before it."""
    low, high = limits(one)
    ends: list[float] = []
    found = []
    for clique in one.cliques:
        first, last = one.ranks[clique[0]], one.ranks[clique[-1]]
        level = next((n for n, end in enumerate(ends) if end + 0.05 * (high - low) < first), len(ends))
        ends[level:level + 1] = [last]
        found.append((first, last, level))
    return found
