"""What is particular to the kinds of anomaly beside the papers' three, and what they share about appearance."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from synthgen.anomalies.breakage import BREAK
from synthgen.anomalies.crack import CRACK
from synthgen.anomalies.deformation import DEFORMATION, DeformationParams
from synthgen.anomalies.dent import DENT
from synthgen.anomalies.registry import SURFACE_TYPES
from synthgen.anomalies.scuff import _frayed
from synthgen.painting.appearance import LUMA
from synthgen.painting.surface import Surface
from tests.support.surfaces import ball, brushed, disc, plain

OWN = ("spot", "scratch", "scuff", "stain", "contamination", "dent", "break", "zone")


def draws(kind, surface, count=40, **own):
    """Rendered draws of a kind that changed something, with their parameters."""
    made = []
    for k in range(count):
        params = SURFACE_TYPES[kind].draw(np.random.default_rng(k), surface, SURFACE_TYPES[kind].configure(**own))
        rendered = SURFACE_TYPES[kind].render_one(surface, params)
        if rendered.mask.any():
            made.append((params, rendered))
    assert len(made) > count / 2
    return made


@pytest.mark.parametrize("kind", SURFACE_TYPES)
def test_gray_stays_gray(kind):
    whole = np.ones((192, 192), np.uint8)
    for _, rendered in draws(kind, Surface(plain(), whole), 25):
        assert (rendered.patch == rendered.patch[..., :1]).all()


@pytest.mark.parametrize("kind", [*OWN, "crack", "corrosion"])
def test_colours_go_no_farther_than_the_surface_has_them(kind):
    """On a surface of one hue and little chroma nothing becomes vividly coloured."""
    surface = Surface(plain(colour=(126, 120, 114)), np.ones((192, 192), np.uint8))
    for _, rendered in draws(kind, surface, 25):
        inside = rendered.patch[rendered.mask > 0].astype(int)
        assert np.percentile(inside.max(1) - inside.min(1), 95) <= 12 + 2.5 * surface.chroma


@pytest.mark.parametrize("kind", ["spot", "scratch", "scuff", "stain", "contamination"])
def test_both_polarities_are_made(kind):
    surface = Surface(plain(), np.ones((192, 192), np.uint8))
    changes = [float(np.mean(r.patch[r.mask > 0].astype(int)) - 120) for _, r in draws(kind, surface, 60)]
    assert min(changes) < -8
    assert max(changes) > 8


@pytest.mark.parametrize("kind", OWN)
def test_sizes_span_a_wide_range(kind):
    surface = Surface(plain(256), np.ones((256, 256), np.uint8))
    areas = [int(rendered.mask.sum()) for _, rendered in draws(kind, surface, 60)]
    factor = 5 if kind == "zone" else 10  # small zones are scuffs
    assert np.percentile(areas, 95) > factor * np.percentile(areas, 5)


@pytest.mark.parametrize("kind", [name for name in OWN if name != "contamination"])
def test_background_is_left_alone(kind):
    """A foreign body may hang over the edge of the object; a chip shows the background within a margin of two pixels."""
    image, mask = ball()
    allowed = cv2.dilate(mask, np.ones((5, 5), np.uint8)) if kind == "break" else mask
    for _, rendered in draws(kind, Surface(image, mask), 25):
        y0, x0, y1, x1 = rendered.box
        changed = (rendered.patch != image[y0:y1, x0:x1]).any(-1)
        assert not (changed & (allowed[y0:y1, x0:x1] == 0)).any()


def test_a_bump_is_bright_towards_the_light_and_a_dent_away_from_it():
    surface = Surface(plain(noise=0.0), np.ones((192, 192), np.uint8))
    settings_ = DENT.configure()
    seen = set()
    for k in range(200):
        params = DENT.draw(np.random.default_rng(k), surface, settings_)
        if params.variant not in ("bump", "dent") or params.ragged > 0.1 or params.radii[0] < 8:
            continue
        rendered = DENT.render_one(surface, params)
        y0, x0, y1, x1 = rendered.box
        ys, xs = np.mgrid[y0:y1, x0:x1]
        change = rendered.patch[..., 0].astype(int) - 120
        towards = (xs - params.centre[1]) * np.cos(params.light) + (ys - params.centre[0]) * np.sin(params.light)
        assert np.sign((change * towards).sum()) == (1 if params.variant == "bump" else -1)
        seen.add(params.variant)
    assert seen == {"bump", "dent"}


def test_a_chip_shows_what_is_behind():
    image, mask = ball()
    image[mask == 0] = (20, 20, 20)
    surface = Surface(image, mask)
    shown = []
    for k in range(120):
        params = BREAK.draw(np.random.default_rng(k), surface, BREAK.configure())
        if params.variant != "chip":
            continue
        rendered = BREAK.render_one(surface, params)
        if rendered.mask.any():
            shown.append(np.median(rendered.patch[rendered.mask > 0]))
    assert len(shown) > 5
    assert np.median(shown) < 45  # mostly the dark background, and some fracture face


@pytest.mark.parametrize("variant", ["chip", "hole"])
def test_what_breaks_off_the_edge_leaves_no_rim(variant):
    """The object is all of one piece afterwards, nothing of it lies where the piece was, and no rim closes the gap."""
    shape = disc(256, 256, 80)
    share = cv2.GaussianBlur(shape.astype(np.float32), (0, 0), 1.2)[..., None]
    image = np.rint(share * 200 + (1 - share) * np.full((256, 256, 3), 20)).astype(np.uint8)
    surface, broken = Surface(image, shape), 0
    for k in range(250):
        params = BREAK.draw(np.random.default_rng(k), surface, BREAK.configure())
        if variant == "chip" and params.variant != "chip":
            continue  # it would not be at the edge
        params = replace(params, variant=variant)
        rendered = BREAK.render_one(surface, params)
        y0, x0, y1, x1 = rendered.box
        after = image.copy()
        after[y0:y1, x0:x1] = rendered.patch
        gone = np.zeros_like(shape)
        gone[y0:y1, x0:x1] = rendered.mask & (rendered.patch.max(-1) < 40)
        open_at_the_edge = bool((cv2.dilate(gone, np.ones((3, 3), np.uint8)) & (1 - shape)).any())
        if variant == "hole" and not open_at_the_edge:
            continue
        stats = cv2.connectedComponentsWithStats((after.max(-1) > 35).astype(np.uint8), connectivity=8)[2]
        largest, *others = sorted(stats[1:, cv2.CC_STAT_AREA], reverse=True)
        assert largest > 0.3 * shape.sum()
        assert sum(others) <= 2, k
        behind = cv2.connectedComponentsWithStats((after.max(-1) <= 35).astype(np.uint8), connectivity=8)[2]
        assert sum(sorted(behind[1:, cv2.CC_STAT_AREA])[:-1]) <= 4, k
        broken += gone.sum() > 100
    assert broken > 10


def test_what_hides_a_surface_has_one_colour_wherever_it_lies():
    """Half of it on orange, half on blue: nothing of either shows."""
    pixels = np.full((192, 192, 3), (190, 120, 40), np.uint8)
    pixels[:, 96:] = (40, 110, 180)
    surface, seen = Surface(pixels, np.ones((192, 192), np.uint8)), set()
    for params, _ in draws("contamination", surface, 60):
        if params.variant not in ("flake", "fibre"):
            continue
        (_, _, *size), *_ = params.bodies
        here = replace(params, centre=(96, 96), bodies=((96, 96, 30, *size[1:]),), opacity=1.0, width=12.0, relief=10.0)
        rendered = SURFACE_TYPES["contamination"].render_one(surface, here)
        y0, x0, y1, x1 = rendered.box
        inside = cv2.erode(rendered.mask, np.ones((7, 7), np.uint8)) > 0  # without the shadow
        left = np.arange(x0, x1)[None, :].repeat(y1 - y0, 0) < 96
        parts = rendered.patch[inside & left].astype(int), rendered.patch[inside & ~left].astype(int)
        if min(map(len, parts)) < 20 or max(part.max() for part in parts) == 255:
            continue
        colours = [np.median(part - (part @ LUMA)[:, None], 0) for part in parts]
        assert np.abs(colours[0] - colours[1]).max() < 10  # the surfaces differ by 145
        seen.add(params.variant)
    assert seen == {"flake", "fibre"}


def test_a_drop_ends_with_the_object():
    image, mask = ball()
    drops = [r for params, r in draws("contamination", Surface(image, mask), 150) if params.variant == "drop"]
    assert len(drops) > 5
    for rendered in drops:
        y0, x0, y1, x1 = rendered.box
        changed = (rendered.patch != image[y0:y1, x0:x1]).any(-1)
        assert not (changed & (mask[y0:y1, x0:x1] == 0)).any()


def test_the_lines_of_a_zone_are_as_strong_as_the_surface_beside_them():
    def lines(amplitude):
        stripes = 120 + amplitude * np.sin(2 * np.pi * np.arange(192) / 9)
        pixels = np.repeat(np.broadcast_to(stripes, (192, 192))[..., None], 3, 2).astype(np.uint8)
        this = Surface(pixels, np.ones((192, 192), np.uint8))
        own = SURFACE_TYPES["zone"].configure(contrast_range=(5, 6))  # so that the contrast allows hardly any line
        drawn = [SURFACE_TYPES["zone"].draw(np.random.default_rng(k), this, own).streaks for k in range(60)]
        return this.texture((0, 0, 192, 192)), np.array(drawn)

    faint_texture, faint = lines(4)
    strong_texture, strong = lines(28)
    for texture, drawn in ((faint_texture, faint), (strong_texture, strong)):
        assert 0.5 < (drawn == 0).mean() < 0.9  # most have none
        assert (drawn[drawn > 0] > 0.25 * texture).all()
    assert np.median(strong[strong > 0]) > 3 * np.median(faint[faint > 0])


def lines_and_grain(image, core):
    """Strength of what is alike along the columns of a mask, and of the rest, in gray levels."""
    values, weight = image[..., 0].astype(float), core.astype(float)
    long = [x for x in range(image.shape[1]) if weight[:, x].sum() >= 40]
    mean = np.array([(values * weight)[:, x].sum() / weight[:, x].sum() for x in long])
    rest = np.concatenate([values[core[:, x], x] - mean[k] for k, x in enumerate(long)])
    return (mean - cv2.GaussianBlur(mean[None], (0, 0), 8)[0]).std(), rest.std()


@pytest.mark.parametrize("worked", [True, False])
def test_a_tool_deepens_the_lines_of_a_zone_and_takes_its_grain(worked):
    image = brushed()
    surface = Surface(image, np.ones((256, 256), np.uint8))
    ratios = []
    for params, rendered in draws("zone", surface, 40, worked_share=float(worked), area_range=(0.2, 0.4), lines_range=(0, 0)):
        if params.streaks or abs(params.slope) > 0 or params.contrast > 60:
            continue
        y0, x0, y1, x1 = rendered.box
        core = cv2.erode(rendered.mask, np.ones((9, 9), np.uint8)) > 0
        if (core.sum(0) >= 40).sum() < 30:
            continue
        before, after = (lines_and_grain(one, core) for one in (image[y0:y1, x0:x1], rendered.patch))
        assert (params.lay > 1) == (params.keep < 1) == (after[0] > before[0]) == (after[1] < before[1]) == worked
        ratios.append((after[0] / before[0] / params.lay, after[1] / before[1] / params.keep))
    lines, grain = np.median(ratios, axis=0)
    assert len(ratios) > 10
    assert lines == pytest.approx(1, abs=0.3)  # broad ones count as light
    assert grain == pytest.approx(1, abs=0.1)


def test_where_nothing_lies_along_lines_a_zone_is_smoother_or_rougher():
    surface = Surface(plain(256, noise=8.0), np.ones((256, 256), np.uint8))
    kept = np.array([params.keep for params, _ in draws("zone", surface, 60)])
    assert 0.3 < (kept > 1).mean() < 0.7


@pytest.mark.parametrize(
    ("kind", "wide"),
    [("zone", {"area_range": (0.3, 0.4), "lines_range": (0, 0)}), ("scuff", {"size_range": (0.4, 0.5)})],
)
def test_a_change_of_finish_follows_the_light(kind, wide):
    """Where the part is dark, another finish has less to reflect."""
    values = np.repeat(np.linspace(20, 200, 256)[None], 256, 0)
    surface = Surface(np.repeat(values.astype(np.uint8)[..., None], 3, 2), np.ones((256, 256), np.uint8))
    shares = []
    for params, rendered in draws(kind, surface, 80, contrast_range=(15, 25), **wide):
        if kind == "zone" and (abs(params.slope) > 0.2 or params.streaks):
            continue
        y0, x0, y1, x1 = rendered.box
        change = np.abs(rendered.patch[..., 0].astype(float) - values[y0:y1, x0:x1])
        core = cv2.erode(rendered.mask, np.ones((9, 9), np.uint8)) > 0
        dark, bright = (core & side for side in (values[y0:y1, x0:x1] < 70, values[y0:y1, x0:x1] > 130))
        if min(dark.sum(), bright.sum()) > 200:
            shares.append(change[dark].mean() / change[bright].mean())
    assert len(shares) > 8
    assert np.median(shares) < 0.6


def test_a_zone_differs_in_brightness_where_there_is_no_texture_to_differ():
    def contrasts(noise):
        surface = Surface(plain(256, noise=noise), np.ones((256, 256), np.uint8))
        kind = SURFACE_TYPES["zone"]
        return [abs(kind.draw(np.random.default_rng(k), surface, kind.configure()).contrast) for k in range(60)]

    assert min(contrasts(0.0)) >= 10
    assert min(contrasts(9.0)) < 5


@pytest.mark.parametrize(("kind", "left"), [("scuff", 0.4), ("zone", 0.5)])
def test_what_is_the_same_material_does_not_turn_black(kind, left):
    surface = Surface(plain(256, (60, 60, 60)), np.ones((256, 256), np.uint8))
    drawn = draws(kind, surface, 60, bright_share=0.0, contrast_range=(50, 60))
    assert all(params.contrast >= -(1 - left) * 60.5 for params, _ in drawn)
    assert min(params.contrast for params, _ in drawn) < -0.9 * (1 - left) * 60


def test_rubbing_along_the_lay_deepens_the_lines_and_rubbing_across_takes_them():
    surface = Surface(brushed(), np.ones((256, 256), np.uint8))
    drawn = [params for params, _ in draws("scuff", surface, 80)]
    along = [params for params in drawn if params.lay > 1]
    assert 0.5 < len(along) / len(drawn) < 0.95
    assert all(abs(params.rubbing % np.pi - np.pi / 2) < 0.4 for params in along)
    assert max(params.keep for params in drawn) <= 1.41
    bare = Surface(plain(256, noise=8.0), np.ones((256, 256), np.uint8))
    assert 0.2 < np.mean([params.keep > 1.41 for params, _ in draws("scuff", bare, 80)]) < 0.6


def test_a_wide_crack_is_dark_and_a_bright_one_thin():
    this = Surface(plain(512), np.ones((512, 512), np.uint8))
    settings_ = CRACK.configure()
    drawn = [CRACK.draw(np.random.default_rng(k), this, settings_) for k in range(300)]
    dark, bright = ([p for p in drawn if (p.contrast < 0) == side] for side in (True, False))
    assert max(p.width for p in bright) <= 8
    assert all(p.width <= 3 + 0.25 * abs(p.contrast) + 1e-3 for p in dark)
    assert max(p.width for p in dark) > 15  # and yet there are wide ones
    assert {np.sign(p.face) for p in dark if p.width > 7} == {-1, 0, 1}
    assert not any(p.face for p in drawn if p.width <= 5)


def straight_crack(**more):
    this = Surface(plain(256, (150, 150, 150), 0.0), np.ones((256, 256), np.uint8))
    drawn = CRACK.draw(np.random.default_rng(3), this, CRACK.configure(count_range=(1, 1), bright_share=0))
    values = {
        "starts": ((128, 128, 0.0),), "steps": 20, "step": 4.0, "branching": 0.0, "stopping": 0.0, "jitter": 0.0, "wander": 0.0,
        "kink": 0.0, "width": 12.0, "taper": 0.6, "roughness": 0.0, "contrast": -80.0, "opacity": 1.0, "keep": 0.0, "lip": 0.0,
        "fading": 0.0, "face": 0.0, "face_shade": -20.0, "light": np.pi / 2,
    }  # fmt: skip
    rendered = CRACK.render([this], [replace(drawn, **(values | more))])[0]
    whole = this.pixels.copy()
    y0, x0, y1, x1 = rendered.box
    whole[y0:y1, x0:x1] = rendered.patch
    return 150 - whole[..., 0].astype(int)


def test_a_crack_comes_to_a_point():
    dark = straight_crack() > 20
    widths = dark.sum(0)[dark.any(0)]
    if len(widths) < dark.any(1).sum():  # it runs down
        widths = dark.sum(1)[dark.any(1)]
    assert widths.max() >= 10
    assert max(widths[3], widths[-4]) <= 5  # three pixels from its ends


def test_a_wall_is_seen_on_one_side_of_a_crack():
    without, with_, other = (straight_crack(face=face) for face in (0.0, 0.4, -0.4))
    assert ((without > 20) == (with_ > 12)).mean() > 0.99  # the same place
    lighter, lighter_other = ((without - one) > 30 for one in (with_, other))
    assert lighter.sum() > 0.2 * (without > 20).sum()
    assert not (lighter & lighter_other).any()


def test_a_crack_closes_in_places():
    assert (straight_crack(fading=1.0)).sum() < 0.97 * straight_crack().sum()


def test_fabric_has_no_facets_and_fracture_faces_are_rough():
    whole = np.ones((192, 192), np.uint8)
    variants = {
        material: {BREAK.draw(np.random.default_rng(k), Surface(plain(), whole, material), BREAK.configure()).variant
                   for k in range(80)}
        for material in ("fabric", "stone")
    }  # fmt: skip
    assert variants["stone"] - variants["fabric"] == {"fracture"}
    this = Surface(plain(noise=1.0), whole)
    hole = next(
        p for p in (BREAK.draw(np.random.default_rng(k), this, BREAK.configure(size_range=(0.2, 0.25))) for k in range(80))
        if p.variant == "hole"
    )  # fmt: skip
    rough, smooth = (BREAK.render([this], [replace(hole, rough=rough, contrast=-60.0)])[0].patch for rough in (15.0, 0.0))
    middle = (slice(rough.shape[0] // 3, -rough.shape[0] // 3), slice(rough.shape[1] // 3, -rough.shape[1] // 3))
    assert rough[middle].std() > smooth[middle].std() + 3


def test_fracture_faces_are_not_burnt_out():
    """White or black without grain is what a face of any material is not."""
    surface, seen = Surface(plain(colour=(170, 170, 170), noise=4), np.ones((192, 192), np.uint8)), 0
    for params, rendered in draws("break", surface, 100, contrast_range=(80, 120)):
        if params.variant == "fracture" and rendered.mask.sum() > 200:
            values = rendered.patch[rendered.mask > 0][:, 0]
            assert ((values == 255) | (values == 0)).mean() < 0.2
            seen += 1
    assert seen > 10


def test_the_strokes_of_a_scuff_end_apart_and_are_as_long_as_it_is():
    params = next(p for p, _ in draws("scuff", Surface(plain(), np.ones((192, 192), np.uint8))) if p.variant != "rub")
    whole = np.zeros((100, 200), np.float32)
    whole[30:70, 60:140] = 1
    for fray in (0.0, 12.0):
        along_x = replace(params, rubbing=0.0, fray=fray, line=3.0)
        frayed = _frayed(np.random.default_rng(0), along_x, whole, (0, 0, 100, 200))
        assert np.allclose(frayed.sum(1), whole.sum(1), atol=0.01)
        ends = frayed[30:70].argmax(1)
        assert np.ptp(ends) > 20 if fray else (ends == 60).all()
        assert np.abs(np.diff(ends)).max() > 5 or not fray  # neighbours, too

    def edges(fray):
        """Pixels of the mask's outline, over all draws of one kind of place."""
        made = [replace(p, fray=fray * p.radii[1]) for p, _ in scuffs if p.variant == "band"]
        masks = [np.pad(SURFACE_TYPES["scuff"].render_one(whole_surface, p).mask, 1) for p in made]
        return sum(int((mask - cv2.erode(mask, np.ones((3, 3), np.uint8))).sum()) for mask in masks)

    whole_surface = Surface(plain(), np.ones((192, 192), np.uint8))
    scuffs = draws("scuff", whole_surface, 60, size_range=(0.1, 0.2))
    assert edges(0.5) > 1.3 * edges(0.0)


def test_not_even_the_lines_of_a_scuff_turn_black():
    surface = Surface(plain(colour=(90, 90, 90), noise=0), np.ones((192, 192), np.uint8))
    for _, rendered in draws("scuff", surface, 60, contrast_range=(60, 80), bright_share=0, streaks_range=(0.9, 1)):
        assert rendered.patch[rendered.mask > 0].mean(1).min() > 0.3 * 90


def test_a_scrap_is_folded():
    """Its sides do not have one brightness."""
    surface, ranges = Surface(plain(colour=(90, 90, 90), noise=0), np.ones((192, 192), np.uint8)), []
    for params, _ in draws("contamination", surface, 60, size_range=(0.1, 0.2)):
        if params.variant == "flake":
            rendered = SURFACE_TYPES["contamination"].render_one(surface, replace(params, relief=60.0, grain=0.0))
            inside = cv2.erode(np.pad(rendered.mask, 1), np.ones((9, 9), np.uint8))[1:-1, 1:-1] > 0
            if inside.sum() > 300:
                ranges.append(np.ptp(np.percentile(rendered.patch[inside][:, 0], (5, 95))))
    assert len(ranges) > 5
    assert np.median(ranges) > 20


def test_a_drop_ends_as_softly_as_the_object():
    shape = disc(192, 192, 60)
    share = cv2.GaussianBlur(shape.astype(np.float32), (0, 0), 2.0)[..., None]
    surface, rings = Surface(np.rint(40 + share * np.full((192, 192, 3), 120)).astype(np.uint8), shape), []
    ring = shape & (1 - cv2.erode(shape, np.ones((3, 3), np.uint8)))
    inner = cv2.erode(shape, np.ones((11, 11), np.uint8))
    for params, _ in draws("contamination", surface, 80):
        if params.variant != "drop":
            continue
        (_, _, *size), *_ = params.bodies
        flat = replace(
            params, centre=(96, 150), bodies=((96, 150, 30, *size[1:]),), opacity=0.8, relief=0.0, grain=0.0, dark=0.0
        )
        rendered = SURFACE_TYPES["contamination"].render_one(surface, replace(flat, shift=(80.0, 80.0, 80.0)))
        y0, x0, y1, x1 = rendered.box
        change = np.abs(rendered.patch.astype(int) - surface.pixels[y0:y1, x0:x1]).mean(-1)
        core = cv2.erode(np.pad(rendered.mask, 1), np.ones((3, 3), np.uint8))[1:-1, 1:-1]
        rings.append(change[ring[y0:y1, x0:x1] > 0].mean() / change[(inner[y0:y1, x0:x1] & core) > 0].mean())
    assert len(rings) > 5
    assert np.median(rings) < 0.6


@pytest.mark.parametrize("radius", [0.3, 12.0])
def test_a_warp_that_takes_two_places_to_one_is_refused(radius):
    """On parts of a few pixels lengths are drawn that two decimals do not tell apart."""
    points, offsets = ((-1.0, 0.0), (1.0, 0.0)), ((1.0, 0.0), (-1.0, 0.0))
    how = {"kind": "crumple", "centre": (48, 48), "radius": radius, "taper": 0.3, "shading": 20.0, "light": 0.0}
    bent = DeformationParams(points=points, offsets=offsets, **how)
    rendered = DEFORMATION.render_one(Surface(plain(96), np.ones((96, 96), np.uint8)), bent)
    assert not rendered.mask.any()
