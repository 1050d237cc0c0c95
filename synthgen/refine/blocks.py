"""Building blocks of the fine stage, npcF++ (MaPhC2F, equations 22 to 25): PDE, wavelet and boundary attention.

All take and give features (B, C, H, W) of any floating type, at any height and width.
"""

from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthgen.refine.config import Sign

_STEEPEST = 0.2  # |epsilon| stays below; at -1/8 a checkerboard is gone, below -1/4 smoothing would be unstable
_FIRST = -0.25  # of the unbounded parameter: starts as mild smoothing
_SQUEEZE = 16  # squeeze-excite: channels per hidden unit


def laplacian(x: Tensor) -> Tensor:
    """The 5-point Laplacian of every channel (B, C, H, W), grid step 1 pixel; beyond the border the last pixel goes on."""
    return _stencil(x, _five_points(x).expand(x.shape[1], 1, 3, 3))


def _five_points(like: Tensor) -> Tensor:
    return like.new_tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])


def _stencil(x: Tensor, kernels: Tensor) -> Tensor:
    """Every channel with its own 3x3 kernel (C, 1, 3, 3), border pixels repeated."""
    # small differences of large values: bf16 would leave little of them
    with torch.autocast(x.device.type, enabled=False):
        return functional.conv2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), kernels, groups=x.shape[1])


def haar(x: Tensor) -> Tensor:
    """The orthonormal Haar transform (MaPhC2F, equation 23).

    Args:
        x: (B, C, H, W), H and W even.

    Returns:
        (B, 4 C, H / 2, W / 2): C channels each of LL, LH (low along the rows, high along the columns), HL and HH.
    """
    a, b, c, d = x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]
    top, bottom, top_step, bottom_step = a + b, c + d, a - b, c - d
    return torch.cat([top + bottom, top - bottom, top_step + bottom_step, top_step - bottom_step], 1).mul_(0.5)


def unhaar(bands: Tensor) -> Tensor:
    """The inverse of `haar`: (B, 4 C, H, W) -> (B, C, 2 H, 2 W)."""
    batch, channels, height, width = bands.shape
    ll, lh, hl, hh = bands.chunk(4, 1)
    top, bottom, top_step, bottom_step = ll + lh, ll - lh, hl + hh, hl - hh
    upper = torch.stack([top + top_step, top - top_step], -1)
    lower = torch.stack([bottom + bottom_step, bottom - bottom_step], -1)
    return torch.stack([upper, lower], -3).reshape(batch, channels // 4, 2 * height, 2 * width).mul_(0.5)


def boundary_of(mask: Tensor, radius: int) -> Tensor:
    """Where the mask changes within `radius` pixels (a square of 2 radius + 1): its dilation without its erosion.

    Args:
        mask: (B, 1, H, W), {0, 1} of any type. Beyond the image it goes on: the image's border is no boundary.
        radius: in pixels, at least 0 (nothing).

    Returns:
        (B, 1, H, W) float32, {0, 1}.

    Raises:
        ValueError: for a negative radius.
    """
    if radius < 0:
        raise ValueError(f"a radius of {radius} pixels")
    mask = mask.float()
    return _highest(mask, radius) + _highest(-mask, radius)


def _highest(x: Tensor, radius: int) -> Tensor:
    """Maximum over a square, rows and columns one after the other; pixels beyond the image do not count."""
    rows = functional.max_pool2d(x, (1, 2 * radius + 1), 1, (0, radius))
    return functional.max_pool2d(rows, (2 * radius + 1, 1), 1, (radius, 0))


class PDEWaveAttnBlock(nn.Module):
    """Features f plus gamma times iDWT(attended DWT(f - epsilon laplacian(f))) (MaPhC2F, equations 22 to 24).

    The paper names the attention and does not define it: here a convolution per sub-band, one across them, and squeeze-excite.

    f - epsilon laplacian(f) is named smoothing and, for positive epsilon, sharpens. `sign` says what it may do: "paper" has
    every epsilon >= 0 (sharpens), "smooth" every epsilon <= 0, and "free" lets each channel learn which.

    Args:
        channels: C.
        sign: of epsilon; |epsilon| < 0.2.

    Raises:
        ValueError: for another sign.
    """

    def __init__(self, channels: int, sign: Sign = "free") -> None:
        super().__init__()
        if sign not in get_args(Sign):
            raise ValueError(f"sign {sign!r}: known are {', '.join(get_args(Sign))}")
        self.sign = sign
        self.slope = nn.Parameter(torch.full((channels,), _FIRST))
        bands, hidden = 4 * channels, max(1, 4 * channels // _SQUEEZE)
        self.mix = nn.Sequential(nn.Conv2d(bands, bands, 3, padding=1, groups=4), nn.SiLU(), nn.Conv2d(bands, bands, 1))
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(bands, hidden, 1), nn.SiLU(), nn.Conv2d(hidden, bands, 1), nn.Sigmoid()
        )
        self.gamma = nn.Parameter(torch.zeros(()))

    def epsilon(self) -> Tensor:
        """(C,): above 0 where the channel is sharpened, below 0 where it is smoothed."""
        bounded = _STEEPEST * self.slope.tanh()
        if self.sign == "free":
            return bounded
        return bounded.abs() if self.sign == "paper" else -bounded.abs()

    def diffused(self, features: Tensor) -> Tensor:
        """F - epsilon laplacian(f), (B, C, H, W): equation 22, as one convolution."""
        points = _five_points(features)
        itself = torch.zeros_like(points)
        itself[1, 1] = 1
        return _stencil(features, itself - self.epsilon().to(features.dtype)[:, None, None, None] * points)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        height, width = features.shape[-2:]
        even = self.diffused(features)
        if height % 2 or width % 2:
            even = functional.pad(even, (0, width % 2, 0, height % 2), "reflect" if min(height, width) > 1 else "replicate")
        bands = self.mix(haar(even))
        attended = unhaar(bands * self.squeeze(bands))[..., :height, :width]
        return features + self.gamma * attended


class RegionSynergyBlock(nn.Module):
    """Normal features plus, on the boundary, gamma times what they find in anomaly features (MaPhC2F, equation 25).

    Single-head attention inside windows: queries from the normal, keys and values from the anomaly features, both behind a
    LayerNorm, with a bias learned for every relative position. Pixels off the boundary stay as they are, so only windows that
    touch it are computed.

    Args:
        channels: C.
        window: side of a window in pixels.
        shifted: the windows start half a window before the image, so that they straddle the seams of an unshifted block's.
    """

    apart: Tensor  # (window ** 2, window ** 2) int64: which of the biases a query has for a key

    def __init__(self, channels: int, window: int = 16, shifted: bool = False) -> None:
        super().__init__()
        self.window = window
        self.start = -(window // 2) if shifted else 0
        self.normal_norm, self.anomaly_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        # no biases: keys' would cancel in the softmax, and the norms have their own
        self.query = nn.Linear(channels, channels, bias=False)
        self.key_value = nn.Linear(channels, 2 * channels, bias=False)
        self.bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2))
        self.gamma = nn.Parameter(torch.tensor(1e-2))
        y, x = (torch.arange(window * window) // window, torch.arange(window * window) % window)
        apart = (y[:, None] - y + window - 1) * (2 * window - 1) + x[:, None] - x + window - 1
        self.register_buffer("apart", apart, persistent=False)

    def forward(self, normal: Tensor, anomaly: Tensor, boundary: Tensor, dense: bool = False) -> Tensor:
        """Attends from normal to anomaly features.

        Args:
            normal: (B, C, H, W).
            anomaly: (B, C, H, W).
            boundary: (B, 1, H, W) in [0, 1]; usually {0, 1}.
            dense: compute every window: the same result, for comparison.

        Returns:
            (B, C, H, W), `normal` itself where no window is computed.
        """
        height, width = normal.shape[-2:]
        image, row, column = self._windows(boundary, dense)
        if not len(image):
            return normal
        # (n, window, 1) and (n, 1, window): a window is gathered by its pixels' places, so nothing is padded or copied whole
        steps = torch.arange(self.window, device=normal.device) + self.start
        rows = row[:, None, None] * self.window + steps[:, None]
        columns = column[:, None, None] * self.window + steps
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        place = (image[:, None, None], rows.clamp(0, height - 1), columns.clamp(0, width - 1))

        attended = self._attended(_pixels(normal)[place], _pixels(anomaly)[place], inside)
        weight = boundary[:, 0][place]
        used = inside & (weight > 0)
        change = self.gamma * attended[used] * weight[used][:, None]
        target = tuple(index.expand(inside.shape)[used] for index in place)
        # a pixel is inside one window only, so none is added to twice
        changed = _pixels(normal).index_put(target, change.to(normal.dtype), accumulate=True)
        return changed.permute(0, 3, 1, 2)

    def _windows(self, boundary: Tensor, dense: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Image, row and column (n,) of the windows to compute, counted in windows."""
        height, width = boundary.shape[-2:]
        before = -self.start
        after = ((-height - before) % self.window, (-width - before) % self.window)
        padded = functional.pad(boundary.detach().float(), (before, after[1], before, after[0]))
        touched = functional.max_pool2d(padded, self.window)[:, 0] > 0
        image, row, column = torch.nonzero(touched | dense, as_tuple=True)
        return image, row, column

    def _attended(self, normal: Tensor, anomaly: Tensor, inside: Tensor) -> Tensor:
        """(n, window, window, C) twice and which pixels are in the image -> (n, window, window, C)."""
        query = self.query(self.normal_norm(normal)).flatten(1, 2)[:, None]
        key, value = self.key_value(self.anomaly_norm(anomaly)).flatten(1, 2)[:, None].chunk(2, -1)
        bias = self.bias[self.apart].to(query.dtype)[None, None]
        if not inside.all():
            bias = bias.masked_fill(~inside.flatten(1)[:, None, None], float("-inf"))
        attended = functional.scaled_dot_product_attention(query, key, value, bias)
        return attended[:, 0].reshape(normal.shape)


def _pixels(features: Tensor) -> Tensor:
    """(B, C, H, W) seen as (B, H, W, C)."""
    return features.permute(0, 2, 3, 1)
