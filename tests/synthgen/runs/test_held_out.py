"""Which images are held out: the counts of both rules, and whom other images move."""

import hashlib

import pytest

from synthgen.runs.held_out import OF_DETECTORS, OF_GENERATORS, choose_held_out


@pytest.mark.parametrize(
    ("rule", "counts"),
    [
        (OF_DETECTORS, {3: 0, 4: 1, 12: 4, 18: 6, 60: 6, 100: 10, 4000: 400}),
        (OF_GENERATORS, {0: 0, 7: 0, 8: 2, 59: 3, 100: 5, 4000: 50}),
    ],
)
def test_counts(rule, counts):
    assert {images: rule.count(images) for images in counts} == counts
    assert all(rule.count(images) <= images // 3 for images in range(300))


def test_those_whose_keys_hash_lowest_are_held_out():
    keys = [f"part/{number:03}" for number in range(40)]
    chosen = [keys[number] for number in choose_held_out(keys, OF_GENERATORS)]
    assert chosen == sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())[:2]
    backwards = keys[::-1]
    assert [backwards[number] for number in choose_held_out(backwards, OF_GENERATORS)] == chosen
    assert choose_held_out(keys, OF_GENERATORS, "another") != choose_held_out(keys, OF_GENERATORS)


def test_equal_keys_lie_side_by_side():
    numbers = choose_held_out(["a", "b", "c", "d"] * 5, OF_DETECTORS)
    assert len({number % 4 for number in numbers}) == 2
