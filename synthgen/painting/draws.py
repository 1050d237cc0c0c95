"""Random numbers as parameters are stored: rounded as they are used."""

import numpy as np


def log_uniform(rng: np.random.Generator, bounds: tuple[float, float], digits: int = 4) -> float:
    """A number between positive bounds whose logarithm is uniform: small and large orders get the same share."""
    low, high = np.log(bounds[0]), np.log(bounds[1])
    return round(float(np.exp(low + (high - low) * rng.random())), digits)


def uniform(rng: np.random.Generator, bounds: tuple[float, float], digits: int = 4) -> float:
    """A number between the bounds, rounded: parameters are stored as they are used."""
    return round(float(bounds[0] + (bounds[1] - bounds[0]) * rng.random()), digits)


def seed(rng: np.random.Generator) -> int:
    """A seed for the details that rendering works out by itself (the path of a crack, a noise field)."""
    return int(rng.integers(2**32))


def weighted_choice(rng: np.random.Generator, weights: dict[str, float]) -> str:
    """One of the names, as often as its weight says."""
    total = sum(weights.values())
    at = rng.random() * total
    for name, weight in weights.items():
        at -= weight
        if at < 0:
            return name
    return list(weights)[-1]


def angle(rng: np.random.Generator) -> float:
    """Any direction, in radians."""
    return uniform(rng, (0, 2 * np.pi))
