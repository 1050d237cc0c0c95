"""What is particular to the kinds of anomaly beside the papers' three, and what they share about appearance."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from surfaces import disc

from synthgen.anomalies.appearance import LUMA, Coat, draw_light, draw_tint, lit, paint, recolour, signed_contrast
from synthgen.anomalies.breakage import BREAK
from synthgen.anomalies.crack import CRACK
from synthgen.anomalies.dent import DENT
from synthgen.anomalies.registry import SURFACE_TYPES
from synthgen.anomalies.scuff import _frayed
from synthgen.anomalies.shapes import coverage, filled, jagged_outline, ribbon, streaks
from synthgen.anomalies.subject import Subject

OWN = ("spot", "scratch", "scuff", "stain", "contamination", "dent", "break", "zone")


def surface(side=192, colour=(120, 120, 120), noise=2.0, seed=0):
    """A plain, slightly grainy surface."""
    rng = np.random.default_rng(seed)
    gray = rng.normal(0, noise, (side, side, 1))
    return np.clip(np.array(colour) + gray, 0, 255).astype(np.uint8)


def ball(side=192, light=0.0):
    """A matt ball lit from one side in front of a dark background, and its mask."""
    y, x = np.mgrid[:side, :side] / (side / 2) - 1
    r2 = (x / 0.7) ** 2 + (y / 0.7) ** 2
    z = np.sqrt(np.clip(1 - r2, 0, 1))
    shade = np.clip(0.5 * z + 0.5 * (x * np.cos(light) + y * np.sin(light)) / 0.7 + 0.4, 0, 1)
    image = np.where(r2 < 1, 30 + 180 * shade, 20).astype(np.uint8)
    return np.repeat(image[..., None], 3, 2), (r2 < 1).astype(np.uint8)


def draws(kind, subject, count=40, **own):
    """Rendered draws of a kind that changed something, with their parameters."""
    made = []
    for k in range(count):
        params = SURFACE_TYPES[kind].draw(np.random.default_rng(k), subject, SURFACE_TYPES[kind].configure(**own))
        rendered = SURFACE_TYPES[kind].render_one(subject, params)
        if rendered.mask.any():
            made.append((params, rendered))
    assert len(made) > count / 2
    return made


@pytest.mark.parametrize("kind", SURFACE_TYPES)
def test_gray_stays_gray(kind):
    whole = np.ones((192, 192), np.uint8)
    for _, rendered in draws(kind, Subject(surface(), whole), 25):
        assert (rendered.patch == rendered.patch[..., :1]).all()


@pytest.mark.parametrize("kind", [*OWN, "crack", "corrosion"])
def test_colours_go_no_farther_than_the_surface_has_them(kind):
    """On a surface of one hue and little chroma nothing becomes vividly coloured."""
    subject = Subject(surface(colour=(126, 120, 114)), np.ones((192, 192), np.uint8))
    for _, rendered in draws(kind, subject, 25):
        inside = rendered.patch[rendered.mask > 0].astype(int)
        assert np.percentile(inside.max(1) - inside.min(1), 95) <= 12 + 2.5 * subject.chroma


@pytest.mark.parametrize("kind", ["spot", "scratch", "scuff", "stain", "contamination"])
def test_both_polarities_are_made(kind):
    subject = Subject(surface(), np.ones((192, 192), np.uint8))
    changes = [float(np.mean(r.patch[r.mask > 0].astype(int)) - 120) for _, r in draws(kind, subject, 60)]
    assert min(changes) < -8
    assert max(changes) > 8


@pytest.mark.parametrize("kind", OWN)
def test_sizes_span_a_wide_range(kind):
    subject = Subject(surface(256), np.ones((256, 256), np.uint8))
    areas = [int(rendered.mask.sum()) for _, rendered in draws(kind, subject, 60)]
    factor = 5 if kind == "zone" else 10  # small zones are scuffs
    assert np.percentile(areas, 95) > factor * np.percentile(areas, 5)


@pytest.mark.parametrize("kind", [name for name in OWN if name != "contamination"])
def test_background_is_left_alone(kind):
    """A foreign body may hang over the edge of the object; a chip shows the background within a margin of two pixels."""
    image, mask = ball()
    allowed = cv2.dilate(mask, np.ones((5, 5), np.uint8)) if kind == "break" else mask
    for _, rendered in draws(kind, Subject(image, mask), 25):
        y0, x0, y1, x1 = rendered.box
        changed = (rendered.patch != image[y0:y1, x0:x1]).any(-1)
        assert not (changed & (allowed[y0:y1, x0:x1] == 0)).any()


@given(st.floats(0, 2 * np.pi))
@settings(max_examples=20, deadline=None)
def test_light_is_found_on_a_ball(light):
    found, certainty = Subject(*ball(light=light)).light
    assert certainty > 0.7
    assert abs((found - light + np.pi) % (2 * np.pi) - np.pi) < 0.2


def test_where_light_cannot_be_told_it_comes_from_anywhere():
    subject = Subject(surface(), np.ones((192, 192), np.uint8))
    assert subject.light[1] == 0
    rng = np.random.default_rng(0)
    angles = np.array([draw_light(rng, subject) for _ in range(400)])
    assert abs(np.exp(1j * angles).mean()) < 0.1
    told = Subject(*ball(light=1.0))
    angles = np.array([draw_light(rng, told) for _ in range(100)])
    assert abs(np.angle(np.exp(1j * (angles - 1.0)).mean())) < 0.3


def test_a_bump_is_bright_towards_the_light_and_a_dent_away_from_it():
    subject = Subject(surface(noise=0.0), np.ones((192, 192), np.uint8))
    settings_ = DENT.configure()
    seen = set()
    for k in range(200):
        params = DENT.draw(np.random.default_rng(k), subject, settings_)
        if params.variant not in ("bump", "dent") or params.ragged > 0.1 or params.radii[0] < 8:
            continue
        rendered = DENT.render_one(subject, params)
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
    subject = Subject(image, mask)
    shown = []
    for k in range(120):
        params = BREAK.draw(np.random.default_rng(k), subject, BREAK.configure())
        if params.variant != "chip":
            continue
        rendered = BREAK.render_one(subject, params)
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
    subject, broken = Subject(image, shape), 0
    for k in range(250):
        params = BREAK.draw(np.random.default_rng(k), subject, BREAK.configure())
        if variant == "chip" and params.variant != "chip":
            continue  # it would not be at the edge
        params = replace(params, variant=variant)
        rendered = BREAK.render_one(subject, params)
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


def test_lit_is_the_slope_towards_the_light():
    y, x = np.mgrid[:32, :32].astype(np.float32)
    plane = 0.5 * x - 0.25 * y
    assert np.allclose(lit(plane, 0.0)[4:-4, 4:-4], -0.5, atol=1e-5)
    assert np.allclose(lit(plane, np.pi / 2)[4:-4, 4:-4], 0.25, atol=1e-5)


@given(st.integers(0, 10**6), st.floats(5, 245), st.floats(0, 1), st.floats(5, 120))
@settings(max_examples=60, deadline=None)
def test_contrast_has_room(seed, level, bright_share, contrast):
    subject = Subject(np.full((64, 64, 3), int(level), np.uint8), np.ones((64, 64), np.uint8))
    change = signed_contrast(np.random.default_rng(seed), subject, (32, 32), (contrast, contrast), bright_share, 8)
    assert 0 <= int(level) + change <= 255
    assert abs(change) <= contrast + 1e-3


def test_tints_change_no_brightness_and_gray_has_none():
    coloured = Subject(surface(colour=(150, 110, 70)), np.ones((192, 192), np.uint8))
    gray = Subject(surface(), np.ones((192, 192), np.uint8))
    for k in range(50):
        tint = draw_tint(np.random.default_rng(k), coloured, (90, 90), 5, foreign_share=0.5)
        assert abs(np.dot(tint, (0.299, 0.587, 0.114))) < 0.01
        assert np.ptp(tint) <= 2 * coloured.chroma + 10
        assert draw_tint(np.random.default_rng(k), gray, (90, 90), 5, foreign_share=1.0) == (0, 0, 0)


def test_paint_is_recolour_plus_tint_plus_kept_texture():
    """Against the plain formula, pixel by pixel."""
    rng = np.random.default_rng(1)
    image = rng.integers(0, 255, (40, 40, 3), np.uint8)
    subject = Subject(image, np.ones((40, 40), np.uint8))
    box = (5, 6, 35, 37)
    cover, light = rng.random((2, 30, 31)).astype(np.float32)
    change = rng.normal(0, 40, (30, 31)).astype(np.float32)
    coat = Coat(cover, change, (4.0, -2.0, 1.0), 1.0, 5, 10 * light)
    before = image[5:35, 6:37].astype(np.float32)
    smooth = cv2.blur(image[5:35, 6:37], (5, 5)).astype(np.float32)
    kept = (1 + np.minimum(change, 0) / (smooth @ LUMA)).clip(0)[..., None]  # what gets darker has less colour
    new = recolour(smooth.reshape(-1, 3), change.ravel()).reshape(before.shape) + kept * (4, -2, 1) + before - smooth
    expected = before + cover[..., None] * (new - before) + 10 * light[..., None]
    assert np.abs(paint(subject, box, coat, 0).astype(int) - np.clip(expected, 0, 255)).max() <= 0.51


def test_a_darker_place_takes_on_no_other_hue_than_the_surface_or_what_it_is_dyed_with():
    """A gray material under an orange surface is gray, however dark; it does not turn blue."""
    orange = np.full((40, 40, 3), (200, 120, 40), np.uint8)
    subject = Subject(orange, np.ones((40, 40), np.uint8))
    towards_gray = tuple(float(v) for v in orange[0, 0] @ LUMA - orange[0, 0])
    for change in (-110, -60, 0):
        coat = Coat(np.ones((40, 40), np.float32), change, towards_gray, 1.0)
        assert np.ptp(paint(subject, (0, 0, 40, 40), coat, 0)) <= 2


def test_what_hides_a_surface_has_one_colour_wherever_it_lies():
    """Half of it on orange, half on blue: nothing of either shows."""
    pixels = np.full((192, 192, 3), (190, 120, 40), np.uint8)
    pixels[:, 96:] = (40, 110, 180)
    subject, seen = Subject(pixels, np.ones((192, 192), np.uint8)), set()
    for params, _ in draws("contamination", subject, 60):
        if params.variant not in ("flake", "fibre"):
            continue
        (_, _, *size), *_ = params.bodies
        here = replace(params, centre=(96, 96), bodies=((96, 96, 30, *size[1:]),), opacity=1.0, width=12.0, relief=10.0)
        rendered = SURFACE_TYPES["contamination"].render_one(subject, here)
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
    drops = [r for params, r in draws("contamination", Subject(image, mask), 150) if params.variant == "drop"]
    assert len(drops) > 5
    for rendered in drops:
        y0, x0, y1, x1 = rendered.box
        changed = (rendered.patch != image[y0:y1, x0:x1]).any(-1)
        assert not (changed & (mask[y0:y1, x0:x1] == 0)).any()


@pytest.mark.parametrize("keep", [0.0, 0.5, 3.5])
@pytest.mark.parametrize("change", [-30.0, 30.0])
def test_paint_ends_with_the_object_and_its_outline_is_no_texture(keep, change):
    shape = disc(128, 128, 40)
    share = cv2.GaussianBlur(shape.astype(np.float32), (0, 0), 1.5)[..., None]
    pixels = np.rint(share * (90, 60, 120) + (1 - share) * 240).astype(np.uint8)
    subject, box = Subject(pixels, shape), (10, 10, 118, 118)
    before = pixels[10:118, 10:118].astype(int)
    coat = Coat(np.ones((108, 108), np.float32), change, keep=keep, fine=11)
    change_there = paint(subject, box, coat, 0).astype(int) - before
    inside = shape[10:118, 10:118] > 0
    assert (change_there[~inside] == 0).all()
    well_inside = subject.presence(box) == 1
    assert abs((change_there[well_inside] @ LUMA).mean() - change) < 2
    # a smooth object has no texture that could be made rougher, so no place changes by much more than all of it does
    assert (np.sign(change) * change_there[inside] @ LUMA).max() < 1.2 * abs(change)
    if keep >= 1:
        assert (np.sign(change) * change_there[inside]).min() >= -1
    with_overhang = paint(subject, box, coat, 0, overhangs=True).astype(int) - before
    assert (with_overhang[~inside] != 0).any()


@pytest.mark.parametrize("keep", [0.4, 2.0])
@pytest.mark.parametrize("change", [-25.0, 25.0])
def test_a_change_of_finish_neither_blurs_parts_nor_puts_halos_around_them(keep, change):
    rng = np.random.default_rng(0)
    values = 100 + rng.normal(0, 3, (128, 128))
    values[40:90, 50:58] += 90  # a small part on the surface
    pixels = np.repeat(np.clip(np.rint(values), 0, 255).astype(np.uint8)[..., None], 3, 2)
    subject, box = Subject(pixels, np.ones((128, 128), np.uint8)), (20, 20, 110, 110)
    before = pixels[20:110, 20:110, 0].astype(float)
    whole = np.ones((90, 90), np.float32)
    painted = paint(subject, box, Coat(whole, change, keep=keep, fine=21, lines=keep), 0)[..., 0].astype(float)
    part = np.zeros((90, 90), np.uint8)
    part[20:70, 30:38] = 1
    near = (cv2.dilate(part, np.ones((21, 21), np.uint8)) > 0) & (part == 0)
    far = cv2.dilate(part, np.ones((45, 45), np.uint8)) == 0
    # beside the part the surface changes as it does far from it, and the part stands out as far as before
    assert abs((painted - before)[near].mean() - (painted - before)[far].mean()) < 12
    stood_out, stands_out = (image[part > 0].mean() - image[near].mean() for image in (before, painted))
    assert 0.65 * stood_out < stands_out < 1.25 * stood_out
    # its texture is as much stronger or weaker as was asked for; what is taken away leaves room for fresh grain
    assert painted[far].std() / before[far].std() == pytest.approx(np.hypot(keep, max(1 - keep, 0)), rel=0.25)
    if keep < 1:  # a coat that covers hides the part, as it should
        covering = paint(subject, box, Coat(whole, change, keep=keep, fine=21), 0)[..., 0].astype(float)
        assert covering[part > 0].mean() - covering[near].mean() < 0.6 * stood_out


def test_shapes_cover_what_they_should():
    square = np.array([[10.0, 10.0], [10.0, 30.0], [25.0, 30.0], [25.0, 10.0]])
    assert filled([square], (0, 0, 64, 64)).sum() == pytest.approx(15 * 20, rel=0.05)
    assert 15 * 20 <= filled([square], (0, 0, 64, 64), fine=False).sum() <= 16.5 * 21.5
    line = np.stack([np.full(20, 32.0), np.linspace(5, 55, 20)], 1)
    assert filled([ribbon(line, np.full(20, 2.0))], (0, 0, 64, 64)).sum() == pytest.approx(50 * 4, rel=0.12)
    outline = jagged_outline(np.random.default_rng(0), (50, 50), 20, 1.0, 0.0)
    assert 10 < np.hypot(*(outline - 50).T).mean() < 30
    assert coverage(np.array([-1, 0, 1], np.float32), 0.5).tolist() == [0, 0.5, 1]


def test_streaks_run_in_their_direction():
    lines = streaks(np.random.default_rng(0), (0, 0, 80, 80), 0.0, 3.0)
    assert lines.std(1).max() < 1e-4  # constant along x
    assert lines.std(0).min() > 0.3


def test_the_lines_of_a_zone_are_as_strong_as_the_surface_beside_them():
    def lines(amplitude):
        stripes = 120 + amplitude * np.sin(2 * np.pi * np.arange(192) / 9)
        pixels = np.repeat(np.broadcast_to(stripes, (192, 192))[..., None], 3, 2).astype(np.uint8)
        this = Subject(pixels, np.ones((192, 192), np.uint8))
        own = SURFACE_TYPES["zone"].configure(contrast_range=(5, 6))  # so that the contrast allows hardly any line
        drawn = [SURFACE_TYPES["zone"].draw(np.random.default_rng(k), this, own).streaks for k in range(60)]
        return this.texture((0, 0, 192, 192)), np.array(drawn)

    faint_texture, faint = lines(4)
    strong_texture, strong = lines(28)
    for texture, drawn in ((faint_texture, faint), (strong_texture, strong)):
        assert 0.5 < (drawn == 0).mean() < 0.9  # most have none
        assert (drawn[drawn > 0] > 0.25 * texture).all()
    assert np.median(strong[strong > 0]) > 3 * np.median(faint[faint > 0])


def brushed(side=256, lines=10.0, grain=5.0):
    """A surface with vertical lines of unequal brightness, and grain."""
    rng = np.random.default_rng(1)
    across = cv2.GaussianBlur(rng.normal(0, 1, (1, side)), (0, 0), 1.5)
    values = 120 + lines * across / across.std() + rng.normal(0, grain, (side, side))
    return np.repeat(np.clip(np.rint(values), 0, 255).astype(np.uint8)[..., None], 3, 2)


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
    subject = Subject(image, np.ones((256, 256), np.uint8))
    ratios = []
    for params, rendered in draws("zone", subject, 40, worked_share=float(worked), area_range=(0.2, 0.4), lines_range=(0, 0)):
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
    subject = Subject(surface(256, noise=8.0), np.ones((256, 256), np.uint8))
    kept = np.array([params.keep for params, _ in draws("zone", subject, 60)])
    assert 0.3 < (kept > 1).mean() < 0.7


@pytest.mark.parametrize(
    ("kind", "wide"),
    [("zone", {"area_range": (0.3, 0.4), "lines_range": (0, 0)}), ("scuff", {"size_range": (0.4, 0.5)})],
)
def test_a_change_of_finish_follows_the_light(kind, wide):
    """Where the part is dark, another finish has less to reflect."""
    values = np.repeat(np.linspace(20, 200, 256)[None], 256, 0)
    subject = Subject(np.repeat(values.astype(np.uint8)[..., None], 3, 2), np.ones((256, 256), np.uint8))
    shares = []
    for params, rendered in draws(kind, subject, 80, contrast_range=(15, 25), **wide):
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
        subject = Subject(surface(256, noise=noise), np.ones((256, 256), np.uint8))
        kind = SURFACE_TYPES["zone"]
        return [abs(kind.draw(np.random.default_rng(k), subject, kind.configure()).contrast) for k in range(60)]

    assert min(contrasts(0.0)) >= 10
    assert min(contrasts(9.0)) < 5


@pytest.mark.parametrize(("kind", "left"), [("scuff", 0.4), ("zone", 0.5)])
def test_what_is_the_same_material_does_not_turn_black(kind, left):
    subject = Subject(surface(256, (60, 60, 60)), np.ones((256, 256), np.uint8))
    drawn = draws(kind, subject, 60, bright_share=0.0, contrast_range=(50, 60))
    assert all(params.contrast >= -(1 - left) * 60.5 for params, _ in drawn)
    assert min(params.contrast for params, _ in drawn) < -0.9 * (1 - left) * 60


def test_rubbing_along_the_lay_deepens_the_lines_and_rubbing_across_takes_them():
    subject = Subject(brushed(), np.ones((256, 256), np.uint8))
    drawn = [params for params, _ in draws("scuff", subject, 80)]
    along = [params for params in drawn if params.lay > 1]
    assert 0.5 < len(along) / len(drawn) < 0.95
    assert all(abs(params.rubbing % np.pi - np.pi / 2) < 0.4 for params in along)
    assert max(params.keep for params in drawn) <= 1.41
    plain = Subject(surface(256, noise=8.0), np.ones((256, 256), np.uint8))
    assert 0.2 < np.mean([params.keep > 1.41 for params, _ in draws("scuff", plain, 80)]) < 0.6


def test_an_image_of_equal_channels_is_painted_as_one_of_three():
    """The short way for gray images gives what the long way gives for an image that is only nearly gray."""
    image = brushed()
    nearly = image.copy()
    nearly[0, 0, 0] ^= 1
    whole, box = np.ones((256, 256), np.uint8), (40, 30, 200, 220)
    rng = np.random.default_rng(0)
    cover = rng.uniform(0, 1, (160, 190)).astype(np.float32)
    for overhangs in (False, True):
        for coat in (
            Coat(cover, -20.0, keep=0.4),
            Coat(cover, rng.normal(0, 30, cover.shape).astype(np.float32), lines=2.0, keep=1.5),
        ):
            gray, colour = (paint(Subject(one, whole), box, coat, 7, overhangs) for one in (image, nearly))
            assert np.array_equal(gray, colour)


def test_a_wide_crack_is_dark_and_a_bright_one_thin():
    this = Subject(surface(512), np.ones((512, 512), np.uint8))
    settings_ = CRACK.configure()
    drawn = [CRACK.draw(np.random.default_rng(k), this, settings_) for k in range(300)]
    dark, bright = ([p for p in drawn if (p.contrast < 0) == side] for side in (True, False))
    assert max(p.width for p in bright) <= 8
    assert all(p.width <= 3 + 0.25 * abs(p.contrast) + 1e-3 for p in dark)
    assert max(p.width for p in dark) > 15  # and yet there are wide ones
    assert {np.sign(p.face) for p in dark if p.width > 7} == {-1, 0, 1}
    assert not any(p.face for p in drawn if p.width <= 5)


def straight_crack(**more):
    this = Subject(surface(256, (150, 150, 150), 0.0), np.ones((256, 256), np.uint8))
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
        material: {BREAK.draw(np.random.default_rng(k), Subject(surface(), whole, material), BREAK.configure()).variant
                   for k in range(80)}
        for material in ("fabric", "stone")
    }  # fmt: skip
    assert variants["stone"] - variants["fabric"] == {"fracture"}
    this = Subject(surface(noise=1.0), whole)
    hole = next(
        p for p in (BREAK.draw(np.random.default_rng(k), this, BREAK.configure(size_range=(0.2, 0.25))) for k in range(80))
        if p.variant == "hole"
    )  # fmt: skip
    rough, smooth = (BREAK.render([this], [replace(hole, rough=rough, contrast=-60.0)])[0].patch for rough in (15.0, 0.0))
    middle = (slice(rough.shape[0] // 3, -rough.shape[0] // 3), slice(rough.shape[1] // 3, -rough.shape[1] // 3))
    assert rough[middle].std() > smooth[middle].std() + 3


def test_fracture_faces_are_not_burnt_out():
    """White or black without grain is what a face of any material is not."""
    subject, seen = Subject(surface(colour=(170, 170, 170), noise=4), np.ones((192, 192), np.uint8)), 0
    for params, rendered in draws("break", subject, 100, contrast_range=(80, 120)):
        if params.variant == "fracture" and rendered.mask.sum() > 200:
            values = rendered.patch[rendered.mask > 0][:, 0]
            assert ((values == 255) | (values == 0)).mean() < 0.2
            seen += 1
    assert seen > 10


def test_the_strokes_of_a_scuff_end_apart_and_are_as_long_as_it_is():
    params = next(p for p, _ in draws("scuff", Subject(surface(), np.ones((192, 192), np.uint8))) if p.variant != "rub")
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

    whole_surface = Subject(surface(), np.ones((192, 192), np.uint8))
    scuffs = draws("scuff", whole_surface, 60, size_range=(0.1, 0.2))
    assert edges(0.5) > 1.3 * edges(0.0)


def test_not_even_the_lines_of_a_scuff_turn_black():
    subject = Subject(surface(colour=(90, 90, 90), noise=0), np.ones((192, 192), np.uint8))
    for _, rendered in draws("scuff", subject, 60, contrast_range=(60, 80), bright_share=0, streaks_range=(0.9, 1)):
        assert rendered.patch[rendered.mask > 0].mean(1).min() > 0.3 * 90


def test_a_scrap_is_folded():
    """Its sides do not have one brightness."""
    subject, ranges = Subject(surface(colour=(90, 90, 90), noise=0), np.ones((192, 192), np.uint8)), []
    for params, _ in draws("contamination", subject, 60, size_range=(0.1, 0.2)):
        if params.variant == "flake":
            rendered = SURFACE_TYPES["contamination"].render_one(subject, replace(params, relief=60.0, grain=0.0))
            inside = cv2.erode(np.pad(rendered.mask, 1), np.ones((9, 9), np.uint8))[1:-1, 1:-1] > 0
            if inside.sum() > 300:
                ranges.append(np.ptp(np.percentile(rendered.patch[inside][:, 0], (5, 95))))
    assert len(ranges) > 5
    assert np.median(ranges) > 20
