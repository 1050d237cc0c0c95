"""What an anomaly type sees of a normal image: pixels, foreground, material, and facts worked out once for all its samples."""

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.samples import Box, Image, Mask

MATERIALS = ("metal", "wood", "fabric", "plastic", "food", "stone")
UNKNOWN = "any"
"""The material of what nobody has said anything about."""
_LAID = 0.3  # how much of a vote (0..1) the lay must have
_LINE_LENGTH = 128  # of 512 pixels: what is longer and as straight is a line
_EDGE = 3.0  # standard deviations of the texture: what stands out of the surface by more is no texture
_RIM = 1.8  # widths of the picture's edges (standard deviations) over which an object ends


class Surface:
    """A normal image as a surface to damage.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, never written to.
        foreground: (H, W) uint8 {0, 1}, where the object is; all ones if nothing is known.
        material: one of `MATERIALS`, or `UNKNOWN`.
        edit_context: what edge edits work with, theirs alone to look into; None where none are wanted.
        exemplars: the real defects that `real` copies, its alone to look into; None where there are none.
        scale: shorter side / 512: lengths are given in pixels of a 512-pixel image and multiplied by it.
    """

    def __init__(
        self,
        pixels: Image,
        foreground: Mask,
        material: str = "metal",
        edit_context: object = None,
        exemplars: object = None,
    ) -> None:
        self.pixels = pixels
        self.foreground = foreground
        self.material = material
        self.edit_context = edit_context
        self.exemplars = exemplars
        self.scale = min(pixels.shape[:2]) / 512

    @cached_property
    def is_gray(self) -> bool:
        """Whether the three channels are equal everywhere."""
        few = self.pixels[::16, ::16]
        if (few != few[..., :1]).any():
            return False
        r, g, b = cv2.split(self.pixels)
        return bool(np.array_equal(r, g) and np.array_equal(g, b))

    @cached_property
    def luma(self) -> NDArray[np.uint8]:
        """(H, W) uint8 brightness."""
        return np.asarray(cv2.cvtColor(self.pixels, cv2.COLOR_RGB2GRAY))

    @cached_property
    def chroma(self) -> float:
        """How colourful the foreground is: 95th percentile of (largest - smallest channel), 0..255; exactly 0 if gray."""
        if self.is_gray:
            return 0.0
        sample = self.pixels.reshape(-1, 3)[self._inside[:: max(1, len(self._inside) // 4000)]].astype(np.int16)
        return float(np.percentile(sample.max(1) - sample.min(1), 95))

    @cached_property
    def grain(self) -> float:
        """Standard deviation of the pixel noise in gray levels (Immerkaer's estimate, on the smoother half of the image)."""
        kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
        response = np.abs(cv2.filter2D(self.luma[::2, :], cv2.CV_32F, kernel))
        return float(np.median(response[::2, ::2]) / 0.6745 / 6)

    @cached_property
    def _texture(self) -> NDArray[np.float32]:
        """(H/4, W/4) float32: standard deviation of the brightness within some 10 of 512 pixels of each place."""
        step = 2 if self.scale > 0.5 else 1  # large images can do with every other pixel
        luma = self.luma[::step, ::step].astype(np.float32)
        side = max(2 * round(5 * self.scale / step) + 1, 3)
        every = (slice(None, None, 4 // step),) * 2
        mean = np.asarray(cv2.blur(luma, (side, side)), np.float32)[every]
        square = np.asarray(cv2.blur(luma * luma, (side, side)), np.float32)[every]
        return np.asarray(np.sqrt(np.maximum(square - mean**2, 0)), np.float32)

    @cached_property
    def coarse(self) -> NDArray[np.float32]:
        """(H/8, W/8, 3) float32: the mean colour of each 8 x 8 pixels."""
        height, width = self.luma.shape
        small = cv2.resize(self.pixels, (max(width // 8, 2), max(height // 8, 2)), interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.float32)

    def texture(self, box: Box) -> float:
        """How restless the surface is in a window: the median over it of the local standard deviation, in gray levels."""
        y0, x0, y1, x1 = (value // 4 for value in box)
        return float(np.median(self._texture[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]))

    def most_texture(self, box: Box) -> float:
        """Gray levels: what differs by more from the surface around it is not texture but an edge, a print, a part.

        Taken from the quieter half of the object in the window: at edges much varies that is no texture, and a plain background
        has none.
        """
        y0, x0, y1, x1 = (value // 4 for value in box)
        window = slice(y0, max(y1, y0 + 1)), slice(x0, max(x1, x0 + 1))
        inside = self._texture[window][self.foreground[::4, ::4][window] > 0]
        quarter = inside.size // 4
        return _EDGE * (float(np.partition(inside, quarter)[quarter]) if inside.size else self.texture(box))

    def texture_around(self, y: int, x: int, reach: float) -> float:
        """`texture` of the window that reaches some pixels from (y, x) to all sides."""
        height, width = self.luma.shape
        r = max(int(reach), 4)
        return self.texture((max(y - r, 0), max(x - r, 0), min(y + r, height - 4), min(x + r, width - 4)))

    def _window(self, y: int, x: int, reach: float) -> tuple[slice, slice]:
        r = max(int(reach), 1)
        return slice(max(y - r, 0), y + r + 1), slice(max(x - r, 0), x + r + 1)

    def brightness_around(self, y: int, x: int, reach: float) -> float:
        """Mean brightness 0..255 of the window that reaches some pixels from (y, x) to all sides."""
        return float(self.luma[self._window(y, x, reach)].mean())

    def colour_around(self, y: int, x: int, reach: float) -> NDArray[np.float64]:
        """(3,) mean RGB of the same window."""
        return np.asarray(self.pixels[self._window(y, x, reach)].mean((0, 1)), np.float64)

    @cached_property
    def palette(self) -> NDArray[np.uint8]:
        """(n, 3) uint8 RGB, n <= 256: colours of the foreground, from dark to bright."""
        chosen = self._inside[:: max(1, len(self._inside) // 256)][:256]
        colours = self.pixels.reshape(-1, 3)[chosen]
        return np.asarray(colours[np.argsort(self.luma.ravel()[chosen], kind="stable")])

    @cached_property
    def reflectance(self) -> float:
        """Share of the foreground, 0..1, that is a highlight: near white and 60 levels above the median brightness."""
        luma = self.luma.ravel()[self._inside[:: max(1, len(self._inside) // 4000)]]
        return float((luma > max(float(np.median(luma)) + 60, 200)).mean())

    @cached_property
    def light(self) -> tuple[float, float]:
        """(angle in radians that light comes from, how surely 0..1), from which side of the object's rim is bright.

        A convex part turns away on its rim, so that rim pixels face outwards: the side that faces the light is the bright
        one. Where there is no rim (a texture), or all of it is equally bright, nothing is known and the second is about 0.
        """
        height, width = self.luma.shape
        small = (max(width // 4, 4), max(height // 4, 4))
        luma = cv2.resize(self.luma, small, interpolation=cv2.INTER_AREA).astype(np.float32)
        mask = cv2.resize(self.foreground, small, interpolation=cv2.INTER_NEAREST).astype(np.float32)
        soft = cv2.GaussianBlur(mask, (0, 0), 3)
        outwards = [-np.asarray(cv2.Sobel(soft, cv2.CV_32F, *order)) for order in ((1, 0), (0, 1))]
        slope = np.hypot(*outwards)
        rim = (mask > 0) & (slope > 0.2)
        if rim.sum() < 32:
            return 0.0, 0.0
        bright = luma[rim] - luma[rim].mean()
        x, y = (float((part[rim] / slope[rim] * bright).mean()) for part in outwards)
        # a rim that a single distant lamp lights varies with the cosine: mean of cos^2 is a half
        certainty = 2 * np.hypot(x, y) / max(float(np.sqrt(2) * bright.std()), 1.0)
        return float(np.arctan2(y, x)), float(np.clip(certainty, 0, 1))

    @cached_property
    def softness(self) -> float:
        """Blur of the sharpest edges as the standard deviation of a Gaussian, 0.4..2.5 px: new edges should be no sharper.

        A step blurred by a Gaussian changes by erf(d / (2 sqrt(2) sigma)) of its height over d pixels across its middle;
        the changes over one and over two pixels at the steepest places give sigma.
        """
        luma = self.luma[:: 4 if self.scale > 0.5 else 1].astype(np.int16)
        over_two = np.abs(luma[:, 2:] - luma[:, :-2])
        # the steepest 0.5 %, by counting: there are few levels
        counts = np.bincount(over_two.ravel(), minlength=256)[::-1].cumsum()
        steep = over_two >= 255 - int(np.argmax(counts >= max(0.005 * over_two.size, 1)))
        over_one = np.maximum(np.abs(luma[:, 1:-1] - luma[:, :-2]), np.abs(luma[:, 2:] - luma[:, 1:-1]))[steep]
        ratio = float(over_two[steep].mean()) / max(float(over_one.mean()), 1e-3)
        return float(np.clip(np.interp(ratio, (1.0, 1.24, 1.55, 1.78, 1.9), (0.4, 0.5, 0.8, 1.3, 2.5)), 0.4, 2.5))

    @cached_property
    def _alpha(self) -> NDArray[np.float32]:
        """(H, W) float32 0..1, see `alpha`."""
        depth = cv2.distanceTransform(self.foreground, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        rim = _RIM * self.softness
        alpha = np.clip((depth - np.float32(0.5)) / np.float32(rim), 0, 1)
        # the middle of a part too thin to have an inside is as much of it as there is
        middle = cv2.dilate(alpha, np.ones((2 * int(np.ceil(rim)) + 1,) * 2, np.uint8))
        return np.asarray(alpha / np.maximum(middle, np.float32(1e-3)), np.float32)

    def alpha(self, box: Box) -> NDArray[np.float32] | None:
        """(h, w) float32: how much of each pixel of a window is the object, 0 outside the foreground and 1 well inside.

        Between them it rises as softly as the picture's edges are: what happens to an object cannot end on its outline more
        sharply than the object itself does. None where all of the window is well inside.
        """
        y0, x0, y1, x1 = box
        if self._fills:
            return None
        window = self._alpha[y0:y1, x0:x1]
        return None if window.size and window.min() == 1 else window

    def faded_by_alpha(self, box: Box, field: NDArray[np.float32]) -> NDArray[np.float32]:
        """(h, w) float32: an amount of change in a window, less where the object ends (see `alpha`)."""
        alpha = self.alpha(box)
        return field if alpha is None else field * alpha

    @cached_property
    def _fills(self) -> bool:
        return bool(self.foreground.all())

    def smooth(self, box: Box, side: int) -> Image:
        """(h, w, 3) uint8: the window's colours without its fine texture, averaged over `side` (odd) pixels of the object.

        The background does not count, or the outline of the object would pass for texture. Outside the object it is the plain
        average.
        """
        y0, x0, y1, x1 = box
        before, alpha = self.pixels[y0:y1, x0:x1], self.alpha(box)
        plain = np.asarray(cv2.blur(before, (side, side)), np.uint8)
        if alpha is None:
            return plain
        inside = (alpha >= 0.5).astype(np.uint8)
        count, total = (
            np.asarray(cv2.boxFilter(image, cv2.CV_32S, (side, side), normalize=False))
            for image in (inside, cv2.copyTo(before, inside))
        )
        rim = np.flatnonzero((count > 0) & (count < side * side) & (alpha > 0))
        plain.reshape(-1, 3)[rim] = np.rint(np.take(total.reshape(-1, 3), rim, 0) / np.take(count, rim)[:, None])
        return plain

    @cached_property
    def _inside(self) -> NDArray[np.int64]:
        """Flat indices of the foreground away from its edge (2 of 512 pixels), all of a part that is thinner than that."""
        side = 2 * round(2 * self.scale) + 1
        eroded = cv2.erode(self.foreground, np.ones((side, side), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1)
        labels, stats = self._components
        inside = np.flatnonzero(eroded.view(np.bool_))  # four times as fast as on bytes
        if len(stats) == 2 and len(inside):  # one part, and not a thin one: nothing to add
            return inside
        thin = np.bincount(labels.ravel()[inside], minlength=len(stats)) == 0
        thin[0] = False
        if thin.any():
            inside = np.flatnonzero((eroded > 0) | thin[labels])
        return inside if len(inside) else np.arange(self.foreground.size)

    @cached_property
    def _components(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        _, labels, stats, _ = cv2.connectedComponentsWithStats(self.foreground, connectivity=8)
        return np.asarray(labels, np.int32), np.asarray(stats, np.int32)

    def place(self, rng: np.random.Generator) -> tuple[int, int]:
        """(y, x) of a foreground pixel, drawn evenly: a large part is hit as often as its area asks."""
        y, x = divmod(int(self._inside[rng.integers(len(self._inside))]), self.pixels.shape[1])
        return y, x

    def diameter(self, y: int, x: int) -> float:
        """Diameter in pixels of a disc as large as the part (connected component of the foreground) at (y, x)."""
        labels, stats = self._components
        label = labels[y, x]
        area = stats[label, cv2.CC_STAT_AREA] if label else self.pixels.shape[0] * self.pixels.shape[1]
        return float(2 * np.sqrt(area / np.pi))

    def part(self, y: int, x: int) -> Mask:
        """(H, W) uint8 {0, 1}: the connected component of the foreground at (y, x)."""
        labels, _ = self._components
        return np.asarray(labels == labels[y, x], np.uint8)

    @cached_property
    def _rim(self) -> NDArray[np.int64]:
        """Flat indices of the outermost foreground pixels; of the picture's border where the foreground fills it."""
        inner = cv2.erode(self.foreground, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1)
        rim = np.flatnonzero(self.foreground > inner)
        if not len(rim):
            border = np.ones_like(self.foreground)
            border[1:-1, 1:-1] = 0
            rim = np.flatnonzero(border)
        return rim

    def edge_place(self, rng: np.random.Generator) -> tuple[int, int]:
        """(y, x) on the outline of the object, drawn evenly; on the picture's border where the object fills it."""
        y, x = divmod(int(self._rim[rng.integers(len(self._rim))]), self.pixels.shape[1])
        return y, x

    def structured_place(self, rng: np.random.Generator, share: float = 0.6) -> tuple[int, int]:
        """(y, x) of a foreground pixel; in about this share of the draws the one of four with the strongest structure."""
        places = [self.place(rng) for _ in range(4)]
        if rng.random() >= share:
            return places[0]
        return max(places, key=lambda place: self.edge_direction(*place)[1])

    @cached_property
    def structure(self) -> NDArray[np.float32]:
        """(H/8, W/8, 3) float32 local structure tensor (xx, yy, xy) of the brightness: where and along what it changes."""
        height, width = self.luma.shape
        quarter = cv2.resize(self.luma, (max(width // 4, 4), max(height // 4, 4)), interpolation=cv2.INTER_AREA)
        dx, dy = (cv2.Sobel(quarter, cv2.CV_32F, *order, scale=0.125) for order in ((1, 0), (0, 1)))
        tensor = cv2.merge([dx * dx, dy * dy, dx * dy])
        half = cv2.resize(tensor, (max(width // 8, 2), max(height // 8, 2)), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.boxFilter(half, -1, (5, 5)), np.float32)

    def edge_direction(self, y: float, x: float) -> tuple[float, float]:
        """(angle in radians of the strongest change of brightness at (y, x), its root-mean-square gradient per pixel)."""
        rows, columns = self.structure.shape[:2]
        height, width = self.luma.shape
        at = self.structure[min(int(y) * rows // height, rows - 1), min(int(x) * columns // width, columns - 1)]
        xx, yy, xy = (float(v) for v in at)
        return 0.5 * float(np.arctan2(2 * xy, xx - yy)), float(np.sqrt(xx + yy)) / 4

    @cached_property
    def lay(self) -> float | None:
        """Angle in radians, 0..pi, along which the surface's lines run (brushing, grinding, wood's grain); None if it has none.

        Each place of the object votes for the direction along which it changes least, as loudly as it has one.
        """
        height, width = self.luma.shape
        half = cv2.resize(self.luma, (max(width // 2, 4), max(height // 2, 4)), interpolation=cv2.INTER_AREA)
        dx, dy = (cv2.Scharr(half, cv2.CV_32F, *order, scale=1 / 32) for order in ((1, 0), (0, 1)))  # turns less than Sobel's
        columns, rows = small = max(width // 8, 2), max(height // 8, 2)
        products = cv2.resize(cv2.merge([dx * dx, dy * dy, dx * dy]), small, interpolation=cv2.INTER_AREA)
        xx, yy, xy = cv2.split(cv2.boxFilter(products, -1, (5, 5)))
        inside = cv2.resize(self.foreground, (columns, rows), interpolation=cv2.INTER_NEAREST)
        inner = cv2.erode(inside, np.ones((5, 5), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1).astype(np.bool_)
        if not inner.any():
            return None
        energy = np.maximum(xx + yy, 1.0)[inner]
        x, y = float(((xx - yy)[inner] / energy).mean()), float((2 * xy[inner] / energy).mean())
        return (0.5 * float(np.arctan2(y, x)) + np.pi / 2) % np.pi if np.hypot(x, y) > _LAID else None

    def lay_around(self, y: float, x: float) -> float:
        """Angle in radians along which lines run at (y, x): the lay's, or the nearest edge's where the surface has none."""
        return self.edge_direction(y, x)[0] + np.pi / 2 if self.lay is None else self.lay

    def lines(self, box: Box, side: int, most: float) -> NDArray[np.float32] | None:
        """(h, w) float32 gray levels: the part of the window's texture that runs in lines along the `lay`; the rest is grain.

        Lines fade where the object ends: half of what they run along is not there.

        None where the surface has no lay.

        Args:
            box: the window.
            side: odd; what is left of the brightness over its average of so many pixels is the texture, as in `surface`.
            most: gray levels that texture can differ by, see `most_texture`.
        """
        if self.lay is None:
            return None
        length, (y0, x0, y1, x1), (height, width) = max(_LINE_LENGTH * self.scale, 4), box, self.luma.shape
        reach = int(length) + side
        wide = max(y0 - reach, 0), max(x0 - reach, 0), min(y1 + reach, height), min(x1 + reach, width)
        window = slice(wide[0], wide[2]), slice(wide[1], wide[3])
        mean = self.brightness(wide, side)
        texture = np.asarray(cv2.subtract(self.luma[window], mean, dtype=cv2.CV_32F), np.float32)
        np.clip(texture, np.float32(-most), np.float32(most), out=texture)
        lines = averaged_along(self.faded_by_alpha(wide, texture), self.lay, length)
        return lines[y0 - wide[0] : y1 - wide[0], x0 - wide[1] : x1 - wide[1]]

    def brightness(self, box: Box, side: int) -> NDArray[np.float32]:
        """(h, w) float32 gray levels: the window's, averaged over `side` (odd) pixels of the object; 0 far from the object."""
        y0, x0, y1, x1 = box
        luma, alpha = self.luma[y0:y1, x0:x1].astype(np.float32), self.alpha(box)
        if alpha is None:
            return np.asarray(cv2.blur(luma, (side, side)), np.float32)
        luma *= alpha
        present = np.asarray(cv2.blur(alpha, (side, side)), np.float32)
        mean = np.asarray(cv2.blur(luma, (side, side)), np.float32)
        mean /= np.maximum(present, np.float32(1e-3), out=present)
        return mean

    @cached_property
    def plate(self) -> Image:
        """(H, W, 3) uint8: the image with its foreground painted over from the background, at a quarter of the resolution.

        What there is of the object beyond its outline, which ends softly, is painted over as well (see `around`).
        """
        height, width = self.luma.shape
        small = (max(width // 4, 8), max(height // 4, 8))
        image = cv2.resize(self.pixels, small, interpolation=cv2.INTER_AREA)
        hole = cv2.dilate(cv2.resize(self.foreground, small, interpolation=cv2.INTER_AREA), np.ones((5, 5), np.uint8))
        filled = cv2.resize(cv2.inpaint(image, hole, 3, cv2.INPAINT_TELEA), (width, height), interpolation=cv2.INTER_LINEAR)
        return np.where(self.around[..., None] > 0, np.asarray(filled, np.uint8), self.pixels)

    @cached_property
    def around(self) -> Mask:
        """(H, W) uint8 {0, 1}: the foreground with its rim: all that shows anything of the object."""
        return self.with_rim(self.foreground)

    def with_rim(self, mask: Mask) -> Mask:
        """(h, w) uint8 {0, 1}: a part of the object, and 6 of 512 pixels around it, where its soft edge still shows."""
        side = 2 * int(max(13 * self.scale, 1) // 2) + 1
        return np.asarray(cv2.dilate(mask, np.ones((side, side), np.uint8)), np.uint8)


def averaged_along(field: NDArray[np.float32], angle: float, length: float) -> NDArray[np.float32]:
    """(H, W) float32: the mean over a line through each pixel, at least `length` long; the picture goes on as its mirror image.

    Each step adds up two copies half as far apart as the step before, so that the cost grows with the logarithm of the length.
    """
    c, s = float(np.cos(angle)), float(np.sin(angle))
    unit = 1 / max(abs(c), abs(s))  # whole pixels along the axis that is nearer
    steps = max(int(np.ceil(np.log2(length / unit))), 1)
    moves = [(round(2**k * unit * s), round(2**k * unit * c)) for k in reversed(range(steps))]
    down, right = (abs(sum(move[axis] for move in moves)) for axis in (0, 1))
    above = down // 2
    left = right // 2 if c * s > 0 else right - right // 2  # half a pixel off the middle along the line, not across it
    total = np.asarray(cv2.copyMakeBorder(field, above, down - above, left, right - left, cv2.BORDER_REFLECT), np.float32)
    for dy, dx in moves:
        rows, columns = total.shape[0] - abs(dy), total.shape[1] - abs(dx)
        here, there = total[max(dy, 0) :, max(dx, 0) :], total[max(-dy, 0) :, max(-dx, 0) :]
        total = np.asarray(cv2.add(here[:rows, :columns], there[:rows, :columns]), np.float32)
    total *= np.float32(0.5**steps)
    return total
