"""Finds room for the labels of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from vecstore.types import Array, Float64

Box: TypeAlias = tuple[float, float, float, float]  # left, bottom, right, top

POINT_RADIUS = 12.0
GAP = 6.0
DISTANCES = (1.0, 1.8, 2.8, 4.0)


def place_labels(
    points: Array, sizes: Sequence[tuple[float, float]], taken: Sequence[Box], *, frame: Array
) -> list[tuple[float, float]]:
    """Where to put the labels of N points so that they cover as little as can be.

    One label after the other takes the place, near before far, that covers least.

    Args:
        points: [N, 2], in pixels; they are not covered.
        sizes: N widths and heights of labels.
        taken: other boxes that are not covered.
        frame: left, bottom, right and top of what labels stay inside.

    Returns:
        The lower left corner of each label, relative to its point.
    """
    radius = np.array([-POINT_RADIUS, -POINT_RADIUS, POINT_RADIUS, POINT_RADIUS])
    occupied = np.array([*(np.tile(point, 2) + radius for point in points), *taken])
    corners = []
    for point, size in zip(points, sizes, strict=True):
        places = _places(size)
        boxes = np.concatenate([point + places, point + places + np.array(size)], axis=1)
        costs = _covered(boxes, occupied) + _outside(boxes, frame)
        best = int(np.argmin(np.round(costs, 3)))
        occupied = np.concatenate([occupied, boxes[best : best + 1]])
        corners.append((float(places[best, 0]), float(places[best, 1])))
    return corners


def _places(size: tuple[float, float]) -> Float64:
    """Places to try [P, 2], best first: above, right, below and left of the point, then farther."""
    width, height = size
    found = []
    for distance in DISTANCES:
        reach = distance * (POINT_RADIUS + GAP)
        middle, level = -width / 2, -height / 2
        found += [
            (middle, reach),
            (reach, level),
            (middle, -reach - height),
            (-reach - width, level),
            (reach * 0.7, reach * 0.7),
            (-reach * 0.7 - width, reach * 0.7),
            (reach * 0.7, -reach * 0.7 - height),
            (-reach * 0.7 - width, -reach * 0.7 - height),
        ]
    return np.array(found)


def _covered(boxes: Float64, occupied: Float64) -> Float64:
    """Pixels of `occupied` [M, 4] that each of `boxes` [P, 4] covers: [P]."""
    low = np.maximum(boxes[:, None, :2], occupied[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], occupied[None, :, 2:])
    areas: Float64 = np.prod(np.clip(high - low, 0, None), axis=2).sum(axis=1)
    return areas


def _outside(boxes: Float64, frame: Array) -> Float64:
    """Pixels squared by which each box leaves the frame: [P]."""
    over: Float64 = np.clip(frame[:2] - boxes[:, :2], 0, None) ** 2
    over = over + np.clip(boxes[:, 2:] - frame[2:], 0, None) ** 2
    total: Float64 = over.sum(axis=1)
    return total
