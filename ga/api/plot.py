"""The picture of a run; matplotlib is an extra."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from ga.analysis.holdout import PARTS
from ga.errors import InputError

try:
    from matplotlib.figure import Figure
except ImportError as missing:
    raise InputError(
        f"plot: needs matplotlib ({missing}); install it: pip install 'evolution-gate[plot]'"
    ) from None

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ga.api.results import Run


class RunFigure(Figure):
    """A figure that a notebook shows by itself, without matplotlib's state of open figures."""

    def _repr_png_(self) -> bytes:
        data = io.BytesIO()
        self.savefig(data, format="png", dpi=80)
        return data.getvalue()


def plot(run: Run, ax: Axes | None) -> Figure:
    """See ``Run.plot``."""
    curves = run.equity
    if ax is None:
        ax = RunFigure(figsize=(9, 4), layout="constrained").add_subplot()
    ax.plot(curves.index, curves["strategy"], label=run.best.name)
    ax.plot(curves.index, curves["buy and hold"], label="buy and hold", linewidth=1)
    last = curves.index[curves["part"] == PARTS[2]]
    if len(last):
        ax.axvspan(last[0], last[-1], alpha=0.15, label="hold-out")
    ax.set(title=f"run {run.id} on {run.market.name}", ylabel="equity, net of costs")
    ax.legend(loc="upper left")
    figure = ax.get_figure(root=True)
    if figure is None:
        raise InputError("ax: belongs to no figure; give axes of one, or leave it out")
    return figure
