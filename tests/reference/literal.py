"""The paper's pseudocode (MaPhC2F, Algorithms 1 to 5) taken line by line: slow, obvious, and wrong where it is printed wrong.

It is the yardstick of `generation.py` and the independent reference of tests; nothing in `synthgen` uses it. Each comment `l.N`
names the line of the algorithm it stands for. Lines that have no effect as printed are kept, and marked `void`.

Images are (H, W, 3) uint8 (the paper's are BGR; nothing here depends on the order but the meaning of a colour given by the
caller), masks (H, W) uint8 {0, 1}, points (y, x) in pixels.
"""

import math

import cv2
import numpy as np
from noise import pnoise2
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import Rbf

Image = NDArray[np.uint8]
Mask = NDArray[np.uint8]
Point = tuple[int, int]


def random_start_points(foreground: Mask, count: int, rng: np.random.Generator) -> list[Point]:
    """`count` foreground pixels, equally likely: section 7.1, item 1 (Algorithm 1 takes them as given)."""
    ys, xs = np.nonzero(foreground)
    chosen = rng.choice(len(ys), size=count, replace=False)
    return [(int(ys[i]), int(xs[i])) for i in chosen]


def generate_skeleton(
    foreground: Mask,
    start_points: list[Point],
    *,
    max_steps: int,
    step_size: float,
    branching_prob: float,
    stop_prob: float,
    rng: np.random.Generator,
) -> Mask:
    """Algorithm 1: straight walks that stop, leave the foreground, or branch; only the points stepped on are marked."""
    height, width = foreground.shape
    skeleton = np.zeros((height, width), np.uint8)  # l.1
    frontiers: list[tuple[float, float, float, float, int]] = []  # l.2
    for y0, x0 in start_points:  # l.3
        angle = rng.uniform(0, 2 * math.pi)  # l.4
        frontiers.append((y0, x0, math.sin(angle), math.cos(angle), max_steps))  # l.5-6
        skeleton[y0, x0] = 1  # l.7
    while frontiers:  # l.9
        y, x, dy, dx, steps = frontiers.pop()  # l.10, last in first out
        if steps <= 0:  # l.11
            continue
        y_new, x_new = y + dy * step_size, x + dx * step_size  # l.14-15
        y_int, x_int = round(y_new), round(x_new)  # l.16-17
        if not (0 <= y_int < height and 0 <= x_int < width) or foreground[y_int, x_int] == 0:  # l.19
            continue
        skeleton[y_int, x_int] = 1  # l.22: a step of more than 1 px leaves a gap
        steps -= 1  # l.23
        if rng.random() < stop_prob:  # l.24
            continue
        frontiers.append((y_new, x_new, dy, dx, steps))  # l.27: the heading never changes
        if rng.random() < branching_prob:  # l.28
            turn = rng.uniform(-math.pi / 4, math.pi / 4)  # l.29
            new_dy = dy * math.cos(turn) - dx * math.sin(turn)  # l.30
            new_dx = dy * math.sin(turn) + dx * math.cos(turn)  # l.31
            frontiers.append((y_new, x_new, new_dy, new_dx, steps // 2))  # l.32
    return skeleton


def threshold_crack(
    skeleton: Mask,
    *,
    w0: float,
    alpha: float,
    epsilon: float,
    noise_scale: float,
    noise_octaves: int,
    noise_frequency: float = 1.0,
) -> Mask:
    """Lines 1 to 15 of Algorithm 2: pixels nearer to the skeleton than w0 exp(-alpha t) + epsilon, roughened by noise.

    Args:
        skeleton: (H, W) uint8 {0, 1}.
        w0: width factor in px.
        alpha: decay per px.
        epsilon: width floor in px.
        noise_scale: amplitude of the noise in px; 0 for none.
        noise_octaves: octaves of `noise.pnoise2`.
        noise_frequency: lattice cells per image side of the first octave; 1 is the line as printed.
    """
    height, width = skeleton.shape
    crack = np.zeros((height, width), np.uint8)  # l.1
    distance = ndimage.distance_transform_edt(1 - skeleton)  # l.2
    for y in range(height):  # l.4
        for x in range(width):  # l.5
            t = distance[y, x]  # l.6
            w_t = w0 * math.exp(-alpha * t) + epsilon  # l.7
            if w_t > 0:  # l.8, void: always true
                # l.9; unseeded, so all masks of one size get the same field
                value = pnoise2(y / height * noise_frequency, x / width * noise_frequency, octaves=noise_octaves) * noise_scale
                if t + value < w_t:  # l.10
                    crack[y, x] = 1  # l.11
    return crack


def crack_mask(
    skeleton: Mask,
    *,
    w0: float,
    alpha: float,
    epsilon: float,
    noise_scale: float,
    noise_octaves: int,
    morph_kernel_size: int,
    noise_frequency: float = 1.0,
) -> Mask:
    """Algorithm 2: `threshold_crack`, then closing, opening, blur and a threshold of 0.3.

    Opening (l.17) deletes every line narrower than `morph_kernel_size`; the blur and its threshold widen what is left by up
    to 1 px on each side. Nothing confines the mask to the foreground.
    """
    crack = threshold_crack(
        skeleton,
        w0=w0,
        alpha=alpha,
        epsilon=epsilon,
        noise_scale=noise_scale,
        noise_octaves=noise_octaves,
        noise_frequency=noise_frequency,
    )
    square = np.ones((morph_kernel_size, morph_kernel_size), bool)
    closed = ndimage.binary_closing(crack, square)  # l.16
    opened = ndimage.binary_opening(closed, square)  # l.17
    blurred = ndimage.gaussian_filter(opened.astype(np.float64), sigma=1.0)  # l.18
    return (blurred > 0.3).astype(np.uint8)  # l.19


def apply_crack(
    image: Image,
    mask: Mask,
    base_alpha: float,
    max_darken: float,
    max_color_shift: tuple[float, float, float],
    edge_fade: float,
) -> Image:
    """Algorithm 3: darkens and shifts the colour of the mask's pixels. `max_darken` is the brightness that remains, 0..1."""
    out = image.astype(np.float32)  # l.2
    reverse = 1 - mask  # l.3
    distance = ndimage.distance_transform_edt(reverse)  # l.4: 0 on all of the mask
    strength = 1.0 - distance / edge_fade  # l.5, void: only the mask is written, and there it is 1
    strength = np.clip(strength, 0, 1)  # l.6
    strength3 = np.repeat(strength[:, :, None], 3, axis=2)  # l.7
    darken_factor = 1.0 - (1.0 - max_darken) * strength3  # l.8
    color_shift = np.array(max_color_shift, np.float32) * strength3  # l.9-10
    inside = mask == 1  # l.11
    out[inside] = out[inside] * darken_factor[inside]  # l.12
    out[inside] = out[inside] + color_shift[inside]  # l.13
    original = image.astype(np.float32)  # l.14
    out = (1 - base_alpha) * original + base_alpha * out  # l.15
    return np.clip(out, 0, 255).astype(np.uint8)  # l.16


def corrosion_mask(
    foreground: Mask,
    *,
    polygons: int,
    radius: float,
    vertices: int,
    overlap_prob: float,
    growth_steps: int,
    grow_prob: float,
    noise_threshold: float | None,
    noise_frequency: float,
    rng: np.random.Generator,
) -> Mask:
    """Algorithm 4: random polygons, a random boundary growth, closing, and noise that takes boundary pixels away again.

    Args:
        foreground: (H, W) uint8 {0, 1}.
        polygons: how many.
        radius: of a polygon in px; each vertex lies at 0.6 to 1.3 of it.
        vertices: corners of a polygon.
        overlap_prob: chance that a polygon is joined "by union" and not "by bitwise OR" (void: the two are one).
        growth_steps: rounds of growth.
        grow_prob: chance that a boundary pixel is taken in a round.
        noise_threshold: boundary pixels with noise above it are removed (D); None leaves the optional step out.
        noise_frequency: lattice cells per image side.
        rng: all draws come from it.
    """
    height, width = foreground.shape
    mask = np.zeros((height, width), np.uint8)  # l.1
    ys, xs = np.nonzero(foreground)  # l.2
    if len(ys) == 0:
        return mask
    for _ in range(polygons):  # l.3 (A)
        polygon = _filled_polygon((height, width), ys, xs, radius, vertices, rng)
        mask = np.maximum(mask, polygon) if rng.random() < overlap_prob else mask | polygon
    square = np.ones((3, 3), bool)
    for _ in range(growth_steps):  # l.4 (B), not confined to the foreground
        for y, x in _boundary(mask, square):
            if rng.random() < grow_prob:
                mask[y, x] = 1
    mask = ndimage.binary_closing(mask, square).astype(np.uint8)  # l.5 (C)
    if noise_threshold is not None:  # l.6 (D), void: these pixels are outside the mask, and 0 already
        for y, x in _boundary(mask, square):
            if pnoise2(y / height * noise_frequency, x / width * noise_frequency) > noise_threshold:
                mask[y, x] = 0
    return mask


def _filled_polygon(
    size: tuple[int, int], ys: NDArray[np.intp], xs: NDArray[np.intp], radius: float, vertices: int, rng: np.random.Generator
) -> Mask:
    centre = int(rng.integers(len(ys)))
    angles = np.sort(rng.uniform(0, 2 * math.pi, vertices))
    radii = radius * rng.uniform(0.6, 1.3, vertices)
    corners = np.stack([xs[centre] + radii * np.cos(angles), ys[centre] + radii * np.sin(angles)], axis=1)
    polygon = np.zeros(size, np.uint8)
    cv2.fillPoly(polygon, [np.rint(corners).astype(np.int32)], 1)
    return polygon


def _boundary(mask: Mask, square: NDArray[np.bool_]) -> list[Point]:
    """Pixels that dilation adds to the mask."""
    ring = ndimage.binary_dilation(mask, square) & (mask == 0)
    return [(int(y), int(x)) for y, x in np.argwhere(ring)]


def apply_corrosion(
    image: Image, mask: Mask, color: tuple[float, float, float], strength: float, noise_frequency: float
) -> Image:
    """A plain reading of what the paper leaves out: every mask pixel blended with `color`, its share varied by noise.

    The paper says nothing about the appearance of corrosion. Out = (1 - a) in + a color, a = strength (1 + noise) clipped to
    0..1, pixel by pixel.
    """
    height, width = mask.shape
    out = image.copy()
    for y, x in np.argwhere(mask == 1):
        share = strength * (1 + pnoise2(y / height * noise_frequency, x / width * noise_frequency, octaves=4))
        share = min(max(share, 0.0), 1.0)
        for channel in range(3):
            value = (1 - share) * float(image[y, x, channel]) + share * color[channel]
            out[y, x, channel] = int(min(max(value, 0.0), 255.0))
    return out


def tps_deform_local_inpaint(
    image: Image,
    mask: Mask,
    *,
    num_ctrl_points: int,
    max_offset: float,
    dist_field_radius: float,
    inpaint_radius: float,
    margin: int,
    rng: np.random.Generator,
) -> tuple[Image, Mask]:
    """Algorithm 5: the object is inpainted, and its region warped by two radial basis functions.

    As printed the picture shows no deformed object: line 7 remaps the region from which line 3 has erased it. The input
    `dist_field_radius` is used by no line. The mask is the whole warped object.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) uint8 {0, 1}, the object.
        num_ctrl_points: distinct object pixels that are moved.
        max_offset: largest shift along each axis, px.
        dist_field_radius: void.
        inpaint_radius: of Telea's method, px.
        margin: added on each side of the object's box, px.
        rng: all draws come from it.

    Returns:
        image and mask, new arrays; the inputs themselves if the mask is empty.
    """
    ys, xs = np.nonzero(mask)  # l.1
    if len(ys) == 0:
        return image, mask
    rows = slice(max(int(ys.min()) - margin, 0), int(ys.max()) + margin + 1)  # l.2
    cols = slice(max(int(xs.min()) - margin, 0), int(xs.max()) + margin + 1)
    roi_image, roi_mask = np.ascontiguousarray(image[rows, cols]), np.ascontiguousarray(mask[rows, cols])
    inpainted = cv2.inpaint(roi_image, roi_mask, inpaint_radius, cv2.INPAINT_TELEA)  # l.3
    map_x, map_y = _backward_map(roi_mask, num_ctrl_points, max_offset, rng)  # l.4-6
    warped_image = cv2.remap(inpainted, map_x, map_y, cv2.INTER_LINEAR)  # l.7: `inpainted`, not the region with the object
    warped_mask = cv2.remap(roi_mask, map_x, map_y, cv2.INTER_NEAREST)
    new_roi = inpainted  # l.8
    new_roi[warped_mask == 1] = warped_image[warped_mask == 1]
    out_image = image.copy()  # l.9
    out_image[rows, cols] = new_roi
    out_mask = np.zeros_like(mask)  # l.10
    out_mask[rows, cols][warped_mask == 1] = 1
    return out_image, out_mask  # l.11


def _backward_map(
    roi_mask: Mask, num_ctrl_points: int, max_offset: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lines 4 to 6 of Algorithm 5. Line 5 fits positions or displacements; line 6 uses them as displacements, so they are."""
    ys, xs = np.nonzero(roi_mask)
    chosen = rng.choice(len(ys), size=min(num_ctrl_points, len(ys)), replace=False)
    source = np.stack([xs[chosen], ys[chosen]]).astype(np.float64)  # l.4
    offset = rng.uniform(-max_offset, max_offset, source.shape)
    rbf_x = Rbf(source[0], source[1], offset[0], function="thin_plate")  # l.5: no affine term
    rbf_y = Rbf(source[0], source[1], offset[1], function="thin_plate")
    v, u = np.mgrid[: roi_mask.shape[0], : roi_mask.shape[1]].astype(np.float64)  # l.6
    return (u - rbf_x(u, v)).astype(np.float32), (v - rbf_y(u, v)).astype(np.float32)
