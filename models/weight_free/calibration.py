"""From what a segmentation looks like to the Dice to be expected of it.

Fitted on the 18 real lesions of `benchmarks.weight_free` from all of its prompts; how well it holds for
patients that were left out of the fit is in docs/decisions/weight-free-model.md.
"""

from __future__ import annotations

import numpy as np

# Stability and edge together below which a result has to be looked at.
_STEADY = 0.849
_EDGE_WEIGHT, _CLEAREST_EDGE = 0.04, 2.0
# The Dice to be expected of a click below which it has to be looked at.
DOUBTFUL_CLICK = 0.52


def steadiness(stability: float, edge: float) -> float:
    """How far a result is the image's rather than the prompt's, about 0.7 to 1.05.

    Parameters
    ----------
    stability
        Mean Dice with the results of prompts moved and scaled a little.
    edge
        `sizes.edge_strength` of the result.
    """
    return stability + _EDGE_WEIGHT * min(edge, _CLEAREST_EDGE)


def is_steady(stability: float, edge: float) -> bool:
    """Whether a result from anything but a click may be believed without a look."""
    return steadiness(stability, edge) >= _STEADY


def expected_dice(stability: float, edge: float) -> float:
    """The Dice to be expected of a result from anything but a click, 0 to 1."""
    return float(np.clip(1.15 * steadiness(stability, edge) - 0.29, 0, 1))


def expected_dice_of_click(score: float) -> float:
    """The Dice to be expected of a click's result from the score that its size was chosen by, 0 to 1."""
    return float(np.clip(0.8 * score + 0.12, 0, 1))
