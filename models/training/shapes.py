"""Shapes of synthetic lesions: level functions of position, positive inside, about the distance in radii."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Level = Callable[[Floats], Floats]


class Family(StrEnum):
    """What a lesion looks like from outside."""

    SMOOTH = "smooth"
    WARPED = "warped"
    LOBULATED = "lobulated"
    SPICULATED = "spiculated"
    LONG = "long and bent"
    HOLLOWED = "hollowed"
    BRANCHED = "branched"


_SHARES = {
    Family.SMOOTH: 0.2,
    Family.WARPED: 0.34,
    Family.LOBULATED: 0.2,
    Family.SPICULATED: 0.08,
    Family.LONG: 0.07,
    Family.HOLLOWED: 0.05,
    Family.BRANCHED: 0.06,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Waves:
    """A smooth random field: a sum of plane waves, so that it has a value at any position.

    `vectors` has shape (3, k), `phases` (k,), `heights` (k, outputs); each output has a variance of about 1.
    """

    vectors: Floats
    phases: Floats
    heights: Floats

    @classmethod
    def drawn(cls, rng: np.random.Generator, frequency: float, outputs: int = 1, count: int = 10) -> Waves:
        """A field that changes sign about `frequency` times along a unit length."""
        directions = rng.normal(size=(3, count))
        directions /= np.linalg.norm(directions, axis=0)
        lengths = np.pi * frequency * rng.uniform(0.5, 1.4, count)
        return cls(
            vectors=(directions * lengths).astype(np.float32),
            phases=rng.uniform(0, 2 * np.pi, count).astype(np.float32),
            heights=(rng.normal(size=(count, outputs)) * np.sqrt(2 / count)).astype(np.float32),
        )

    def __call__(self, at: Floats) -> Floats:
        """Values at positions (n, 3), shape (n, outputs)."""
        values: Floats = np.cos(at @ self.vectors + self.phases) @ self.heights
        return values


def rotation(rng: np.random.Generator) -> Floats:
    """A random rotation, shape (3, 3)."""
    turn, triangle = np.linalg.qr(rng.normal(size=(3, 3)))
    return (turn * np.sign(np.diag(triangle))).astype(np.float32)


def family(rng: np.random.Generator, hardness: float) -> Family:
    """Which shape comes next; smooth ones only at hardness 0."""
    if rng.random() > 0.3 + 0.7 * hardness:
        return Family.WARPED if rng.random() < 0.5 else Family.SMOOTH
    return list(_SHARES)[rng.choice(len(_SHARES), p=list(_SHARES.values()))]


def draw(rng: np.random.Generator, kind: Family, radius_mm: float) -> Level:
    """A level function of positions (n, 3) in mm about the lesion's middle, of about that radius."""
    turn = rotation(rng)
    flat = rng.uniform(0.6, 1.0, 3) if kind is not Family.LONG else np.array([1.3, 0.42, 0.42])
    flat = flat / np.prod(flat) ** (1 / 3) * rng.uniform(0.9, 1.1, 3)
    scale = (turn / (radius_mm * flat)).astype(np.float32)
    warp = Waves.drawn(rng, rng.uniform(0.4, 1.1), outputs=3)
    amount = {Family.SMOOTH: 0.04, Family.SPICULATED: 0.1}.get(kind, 0.18) * rng.uniform(0.2, 1.2)
    rough = Waves.drawn(rng, rng.uniform(1.5, 4.0))
    roughness = rng.uniform(0, 0.1) if kind is not Family.SMOOTH else 0.01
    body = _BODIES.get(kind, _plain)(rng)

    def level(at: Floats) -> Floats:
        unit = at @ scale
        unit = unit + np.float32(amount) * warp(unit)
        return body(unit) + np.float32(roughness) * rough(unit)[:, 0]

    return level


def lengths(vectors: Floats) -> Floats:
    """Euclidean lengths of (n, 3) or (n, 2) vectors, shape (n,)."""
    found: Floats = np.sqrt((vectors**2).sum(axis=1))
    return found


def ball(middle: NDArray[np.floating], radius: float) -> Level:
    """A ball, in its own radii."""
    centre = np.asarray(middle, dtype=np.float32)

    def level(at: Floats) -> Floats:
        return 1 - lengths(at - centre) / np.float32(radius)

    return level


def tube(rng: np.random.Generator, middle: NDArray[np.floating], radius: float) -> Level:
    """An endless, gently bent vessel through a point, in its own radii."""
    turn = rotation(rng)
    bend = Waves.drawn(rng, 0.15 / radius, outputs=3, count=4)
    centre = np.asarray(middle, dtype=np.float32)

    def level(at: Floats) -> Floats:
        across = ((at - centre) @ turn)[:, 1:] + np.float32(0.8 * radius) * bend(at)[:, 1:]
        return 1 - lengths(across) / np.float32(radius)

    return level


def _plain(rng: np.random.Generator) -> Level:
    power = float(rng.choice([1.6, 2.0, 2.0, 2.0, 2.6, 4.0]))

    def level(unit: Floats) -> Floats:
        if power == 2.0:
            return 1 - lengths(unit)
        reach: Floats = (np.abs(unit) ** np.float32(power)).sum(axis=1) ** np.float32(1 / power)
        return 1 - reach

    return level


def _lobulated(rng: np.random.Generator) -> Level:
    count = int(rng.integers(2, 7))
    middles = rng.normal(size=(count, 3))
    middles *= (rng.uniform(0.35, 0.85, count) / np.linalg.norm(middles, axis=1))[:, None]
    middles[0] *= 0.3
    lobes = [
        ball(middle, radius) for middle, radius in zip(middles, rng.uniform(0.35, 0.75, count), strict=True)
    ]

    def level(unit: Floats) -> Floats:
        inside: Floats = np.maximum.reduce([lobe(unit) for lobe in lobes]) * np.float32(0.6)
        return inside

    return level


def _spiculated(rng: np.random.Generator) -> Level:
    spikes = Waves.drawn(rng, rng.uniform(1.5, 3.0), count=8)
    height = rng.uniform(0.3, 0.9)

    def level(unit: Floats) -> Floats:
        away = lengths(unit)
        towards = (unit / np.maximum(away, 1e-6)[:, None]).astype(np.float32)
        reach = 0.75 + np.float32(height) * np.maximum(spikes(towards)[:, 0] - 0.6, 0) ** 2
        inside: Floats = 1 - away / reach
        return inside

    return level


def _long(rng: np.random.Generator) -> Level:
    bend = rng.uniform(-0.25, 0.25)

    def level(unit: Floats) -> Floats:
        bent = unit.copy()
        bent[:, 1] += np.float32(bend) * unit[:, 0] ** 2 * 3
        return 1 - lengths(bent)

    return level


def _hollowed(rng: np.random.Generator) -> Level:
    towards = rng.normal(size=3)
    dent = ball(towards / np.linalg.norm(towards) * rng.uniform(0.7, 1.1), rng.uniform(0.5, 0.9))

    def level(unit: Floats) -> Floats:
        inside: Floats = np.minimum(1 - lengths(unit), -dent(unit))
        return inside

    return level


def _branched(rng: np.random.Generator) -> Level:
    arms = [tube(rng, np.zeros(3), rng.uniform(0.2, 0.4)) for _ in range(int(rng.integers(1, 3)))]
    inner = rng.uniform(0.45, 0.8)

    def level(unit: Floats) -> Floats:
        away = lengths(unit)
        arm = np.maximum.reduce([arm(unit) for arm in arms])
        inside: Floats = np.maximum(1 - away / np.float32(inner), np.minimum(arm, 1.1 - away))
        return inside

    return level


_BODIES: dict[Family, Callable[[np.random.Generator], Level]] = {
    Family.LOBULATED: _lobulated,
    Family.SPICULATED: _spiculated,
    Family.LONG: _long,
    Family.HOLLOWED: _hollowed,
    Family.BRANCHED: _branched,
}
