"""Any camera: from linear light to one 8-bit picture, as training sees thousands of them.

Lens, sensor and in-camera processing in the order of the light: optics (blur, colour fringes,
shading, motion), the colour filter array with photon and read noise, the black box after it
(demosaicing, white balance, tone, denoising, enlarging, sharpening). Nothing here knows what is in
front of the lens: live and attack scenes go through the same function with parameters drawn from
the same distribution (`devices.py`), so nothing of it can tell them apart.

The picture keeps its geometry: what lies on a pixel's centre stays there, colour fringes and the
shear of a rolling shutter aside, which leave the picture's centre where it is.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

import cv2
import numpy as np
from annotated_types import Interval

from .light import LUMINANCE, to_srgb
from .parameters import Array, generator

Kind = Literal["webcam", "phone", "door_cctv", "laptop", "good"]
Mosaic = Literal["RGGB", "BGGR", "GRBG", "GBRG"]
Wrong = Annotated[float, Interval(ge=-0.3, le=0.3)]

BINNED = 1.5
"""From this sampling on, each output pixel averages several of the sensor's, of every colour."""
_RESPONSE = np.array([0.46, 0.85, 0.55], np.float32)
"""What a silicon sensor makes of white light in R, G, B. Below 1, so that what saturates comes out
above the picture's white, hence white and not magenta."""
_BLACK = 3072.0
"""Pedestal of the 16-bit raw picture: noise goes below black there, and averages out."""
_SPAN = 65535.0 - _BLACK
_CODES = 1 << 14
_TONE_CELLS = 40
"""Width of the small picture that local tone goes by."""
_PATTERN = 1536
"""Side of the noise picture that fixed patterns are cut from."""
_PLACES: dict[Mosaic, tuple[int, int, int, int]] = {
    "RGGB": (0, 1, 1, 2),
    "BGGR": (2, 1, 1, 0),
    "GRBG": (1, 0, 2, 1),
    "GBRG": (1, 2, 0, 1),
}
_DEMOSAICING: dict[tuple[Mosaic, bool], int] = {
    # OpenCV names the pattern by the second row's second and third pixel.
    ("RGGB", False): cv2.COLOR_BayerBG2RGB,
    ("BGGR", False): cv2.COLOR_BayerRG2RGB,
    ("GRBG", False): cv2.COLOR_BayerGB2RGB,
    ("GBRG", False): cv2.COLOR_BayerGR2RGB,
    ("RGGB", True): cv2.COLOR_BayerBG2RGB_EA,
    ("BGGR", True): cv2.COLOR_BayerRG2RGB_EA,
    ("GRBG", True): cv2.COLOR_BayerGB2RGB_EA,
    ("GBRG", True): cv2.COLOR_BayerGR2RGB_EA,
}


@dataclass(frozen=True, slots=True)
class SensorParams:
    """Lens, sensor and processing of one shot. Lengths are pixels of the output picture."""

    name: str = "plain"
    """Of the device: shots of one device share it."""
    # Lens
    defocus: Annotated[float, Interval(ge=0, le=8)] = 0.0
    """Standard deviation of the blur of what is out of focus, pixels."""
    lens_blur: Annotated[float, Interval(ge=0, le=2)] = 0.4
    """Standard deviation of the blur of the lens at its best (its MTF), pixels."""
    edge_blur: Annotated[float, Interval(ge=0, le=3)] = 0.0
    """Standard deviation of the further blur in the corners, pixels; none in the centre."""
    fringe: Annotated[float, Interval(ge=-3, le=3)] = 0.0
    """Lateral chromatic aberration: how far red lies outside green in the corners, pixels; blue
    lies as far inside."""
    vignetting: Annotated[float, Interval(ge=0, le=0.8)] = 0.0
    """Share of the light that the corners lose."""
    flare: Annotated[float, Interval(ge=0, le=0.2)] = 0.0
    """Share of the picture's mean light that lies as a veil over everything."""
    motion: tuple[
        Annotated[float, Interval(ge=-10, le=10)], Annotated[float, Interval(ge=-10, le=10)]
    ] = (0.0, 0.0)
    """Right and down, pixels that the scene moves while the shutter is open."""
    rolling: Annotated[float, Interval(ge=-40, le=40)] = 0.0
    """Pixels to the right that the last row is shifted against the first, since it is read later
    and the scene moves."""
    # Sensor
    sampling: Annotated[float, Interval(ge=0.3, le=4)] = 1.0
    """Sensor pixels along one output pixel: below 1 the camera enlarges its picture; from 1.5 on
    every output pixel has all colours."""
    mosaic: Mosaic = "RGGB"
    edge_aware: bool = True
    """Demosaic along edges instead of bilinearly."""
    crosstalk: Annotated[float, Interval(ge=0, le=0.6)] = 0.2
    """Share of each colour's light that the filters let through evenly to all three; undone by the
    colour matrix, which makes noise of it."""
    full_well: Annotated[float, Interval(ge=500, le=1e9)] = 12000.0
    """Electrons of a saturated sensor pixel at gain 1."""
    gain: Annotated[float, Interval(ge=1, le=64)] = 1.0
    """Analogue gain: saturation comes at this many times fewer electrons."""
    read_noise: Annotated[float, Interval(ge=0, le=30)] = 3.0
    """Electrons, standard deviation."""
    averaged: Annotated[float, Interval(ge=1, le=16)] = 1.0
    """Frames that temporal noise reduction averages: read and shot noise fall with its root."""
    row_noise: Annotated[float, Interval(ge=0, le=10)] = 0.0
    """Electrons, standard deviation, of what a whole row has in common in one shot."""
    column_pattern: Annotated[float, Interval(ge=0, le=10)] = 0.0
    """Electrons, standard deviation, of the columns' fixed offsets."""
    pixel_pattern: Annotated[float, Interval(ge=0, le=0.05)] = 0.0
    """Relative standard deviation of the pixels' fixed sensitivities (PRNU)."""
    pattern_seed: Annotated[int, Interval(ge=0)] = 0
    """Which fixed pattern: the device's."""
    raw_bits: Annotated[int, Interval(ge=8, le=14)] = 10
    # Exposure and colour
    exposure: Annotated[float, Interval(ge=-4, le=4)] = 0.0
    """Stops above what the exposure control asked for."""
    temperature: Annotated[float, Interval(ge=-1.5, le=1.5)] = 0.0
    """White balance error: stops that red gains on blue (warm is above 0)."""
    tint: Annotated[float, Interval(ge=-0.6, le=0.6)] = 0.0
    """White balance error: stops that red and blue gain on green (magenta is above 0)."""
    colour_error: tuple[Wrong, Wrong, Wrong, Wrong, Wrong, Wrong] = (0.0,) * 6
    """What is wrong in the colour matrix, off its diagonal (RG, RB, GR, GB, BR, BG); grey stays
    grey."""
    saturation: Annotated[float, Interval(ge=0, le=2)] = 1.0
    # Tone
    shoulder: Annotated[float, Interval(ge=0, le=6)] = 0.0
    """Highlights are pressed together and the rest lifted: x (1 + s) / (1 + s x)."""
    local_tone: Annotated[float, Interval(ge=0, le=0.7)] = 0.0
    """Exponent by which dark regions are lifted and bright ones lowered (wide dynamic range)."""
    gamma: Annotated[float, Interval(ge=0.5, le=2)] = 1.0
    """Exponent upon sRGB's own curve: below 1 lifts."""
    contrast: Annotated[float, Interval(ge=-0.8, le=0.9)] = 0.0
    """S-curve upon the encoded value: above 0 steepens the middle."""
    black: Annotated[float, Interval(ge=-0.1, le=0.4)] = 0.0
    """Encoded value of black: below 0 it is crushed, far above it is haze."""
    white: Annotated[float, Interval(ge=0.8, le=1.15)] = 1.0
    """Encoded value of white."""
    # Processing
    median: bool = False
    """Median of 3x3 sensor pixels, per colour."""
    bilateral: Annotated[float, Interval(ge=0, le=60)] = 0.0
    """Range of the edge-keeping smoothing of luma, code values: 0 is none."""
    chroma_blur: Annotated[float, Interval(ge=0, le=5)] = 0.0
    """Standard deviation of the smoothing of the colour differences, sensor pixels."""
    enlarging: Literal["linear", "cubic", "lanczos"] = "linear"
    """How the sensor's picture is brought to the output's size."""
    sharpening: Annotated[float, Interval(ge=0, le=4)] = 0.0
    """Amount of the unsharp mask upon luma."""
    sharpening_radius: Annotated[float, Interval(ge=0.4, le=4)] = 1.0
    """Standard deviation of its blur, pixels."""


def auto_exposure(radiance: Array, target: float = 0.2) -> float:
    """The gain that a camera's exposure control would choose: centre-weighted mean luminance.

    Args:
        radiance: float32 (h, w, 3), linear light.
        target: Mean luminance to reach, of the picture's white.

    Returns:
        Factor upon the light, 0.01 to 100.
    """
    small = cv2.resize(radiance, (24, 18), interpolation=cv2.INTER_AREA) @ LUMINANCE
    across = np.exp(-2.0 * np.linspace(-1, 1, 24, dtype=np.float32) ** 2)
    down = np.exp(-2.0 * np.linspace(-1, 1, 18, dtype=np.float32) ** 2)
    weight = down[:, None] * across
    mean = float((small * weight).sum() / weight.sum())
    return float(np.clip(target / max(mean, 1e-6), 0.01, 100.0))


def expose(
    radiance: Array, params: SensorParams, rng: np.random.Generator, gain: float = 1.0
) -> Array:
    """Take one picture.

    Args:
        radiance: float32 (h, w, 3), linear light R, G, B, not negative.
        params: The camera and the shot.
        rng: Where the noise comes from.
        gain: Factor upon the light, as `auto_exposure` gives it; ``params.exposure`` comes on top.

    Returns:
        uint8 RGB (h, w, 3).
    """
    height, width = radiance.shape[:2]
    seen = _through_lens(radiance, params, gain)
    if params.sampling < BINNED:
        raw = _demosaiced(_noisy(_sampled(seen, params), params, rng), params)
    else:
        raw = _noisy(seen, params, rng)
    code = _encoded(_corrected(raw, params), params)
    code = _denoised(code, params)
    if code.shape[:2] != (height, width):
        shrinking = code.shape[0] > height
        how = cv2.INTER_AREA if shrinking else _ENLARGING[params.enlarging]
        code = np.asarray(cv2.resize(code, (width, height), interpolation=how))
    return _sharpened(code, params)


_ENLARGING = {
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}


def _through_lens(radiance: Array, params: SensorParams, gain: float) -> Array:
    """float32 (sensor h, w, 3): light on the sensor behind its filters, 1 saturates."""
    height, width = radiance.shape[:2]
    scale = params.sampling if params.sampling < BINNED else 1.0
    light = cv2.transform(radiance, _filters(params) * np.float32(gain * 2.0**params.exposure))
    blur = float(np.hypot(params.defocus, params.lens_blur))
    if scale != 1.0:
        size = (max(round(width * scale), 8), max(round(height * scale), 8))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        light = cv2.resize(light, size, interpolation=how)
    light = _blurred(light, blur * scale)
    if params.edge_blur > 0.1:
        soft = _blurred(light, params.edge_blur * scale)
        outside = _off_axis(light.shape[0], light.shape[1])[..., None]
        light = light + (soft - light) * outside
    light = _moved(light, (params.motion[0] * scale, params.motion[1] * scale))
    return _warped(np.asarray(light, np.float32), params, scale)


def _filters(params: SensorParams) -> Array:
    mixing = (1 - params.crosstalk) * np.eye(3) + params.crosstalk / 3
    return np.asarray(_RESPONSE[:, None] * mixing, np.float32)


def _blurred(picture: Array, deviation: float) -> Array:
    if deviation < 0.2:
        return picture
    side = 2 * int(np.ceil(2.7 * deviation)) + 1
    return np.asarray(
        cv2.GaussianBlur(picture, (side, side), deviation, borderType=cv2.BORDER_REPLICATE)
    )


@lru_cache(maxsize=16)
def _off_axis(height: int, width: int) -> Array:
    """float32 (h, w): square of the distance to the centre, 1 in the corners."""
    y = (np.arange(height, dtype=np.float32) - (height - 1) / 2)[:, None]
    x = np.arange(width, dtype=np.float32) - (width - 1) / 2
    return (x * x + y * y) / np.float32((height / 2) ** 2 + (width / 2) ** 2)


def _moved(light: Array, motion: tuple[float, float]) -> Array:
    """Blurred along a straight way, centred."""
    length = float(np.hypot(*motion))
    if length < 0.5:
        return light
    reach = int(np.ceil(max(abs(motion[0]), abs(motion[1])) / 2))
    kernel = np.zeros((2 * reach + 3, 2 * reach + 3), np.float32)
    for along in np.linspace(-0.5, 0.5, 2 * int(np.ceil(length)) + 1):
        x, y = reach + 1 + along * motion[0], reach + 1 + along * motion[1]
        column, row = int(np.floor(x)), int(np.floor(y))
        right, below = x - column, y - row
        kernel[row : row + 2, column : column + 2] += np.outer(
            (1 - below, below), (1 - right, right)
        )
    kernel[kernel < 1e-6] = 0
    kernel /= kernel.sum()
    return np.asarray(cv2.filter2D(light, -1, kernel, borderType=cv2.BORDER_REPLICATE))


def _warped(light: Array, params: SensorParams, scale: float) -> Array:
    """Colour fringes and the rolling shutter's shear, about the centre."""
    height, width = light.shape[:2]
    shear = params.rolling * scale / height
    fringe = 2 * params.fringe * scale / float(np.hypot(height, width))
    if abs(params.rolling) < 0.3 and abs(params.fringe) < 0.1:
        return light
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    planes = list(cv2.split(light))
    for index, enlarged in enumerate((fringe, 0.0, -fringe)):
        back = np.array([[1 - enlarged, -shear], [0.0, 1 - enlarged]])
        if not np.allclose(back, np.eye(2)):
            matrix = np.column_stack([back, centre - back @ centre])
            planes[index] = cv2.warpAffine(
                planes[index],
                matrix,
                (width, height),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
    return np.asarray(cv2.merge(planes))


def _sampled(light: Array, params: SensorParams) -> Array:
    """float32 (h, w): one colour a pixel."""
    mosaic = np.empty(light.shape[:2], np.float32)
    for place, colour in enumerate(_PLACES[params.mosaic]):
        row, column = divmod(place, 2)
        mosaic[row::2, column::2] = light[row::2, column::2, colour]
    return mosaic


def _noisy(light: Array, params: SensorParams, rng: np.random.Generator) -> Array:
    """uint16 of the shape of ``light``: the raw picture with its pedestal."""
    height, width = light.shape[:2]
    per_pixel = light.reshape(height, width, -1)
    shading, offset = _fixed(params, height, width)
    if shading is not None:
        per_pixel = per_pixel * shading[..., None]
    if params.flare:
        veil = params.flare * per_pixel.reshape(-1, per_pixel.shape[2]).mean(axis=0)
        per_pixel = per_pixel * np.float32(1 - params.flare) + veil
    well = np.float32(_electrons(params))
    still = np.float32(well * params.averaged)
    dark = np.float32((params.read_noise / well) ** 2 / params.averaged)
    raw = np.maximum(per_pixel, 0)
    raw *= 1 / still
    raw += dark
    np.sqrt(raw, out=raw)
    raw *= rng.standard_normal(per_pixel.shape, np.float32)
    raw += per_pixel
    if params.row_noise:
        offset = offset + rng.standard_normal((height, 1), np.float32) * np.float32(
            params.row_noise / well
        )
    if offset.size > 1:
        raw += np.asarray(offset, np.float32)[..., None]
    raw *= np.float32(_SPAN)
    raw += np.float32(_BLACK)
    step = 16 - params.raw_bits
    digital = np.clip(raw, 0, 65535, out=raw).astype(np.uint16)
    # The middle of the step, else coarse converters would darken.
    digital &= np.uint16(0xFFFF << step & 0xFFFF)
    digital += np.uint16((1 << step) >> 1)
    return np.asarray(digital.reshape(light.shape), np.uint16)


def _electrons(params: SensorParams) -> float:
    """Electrons of a saturated output pixel."""
    pixels = params.sampling**2 if params.sampling >= BINNED else 1.0
    return params.full_well * pixels / params.gain


def _fixed(params: SensorParams, height: int, width: int) -> tuple[Array | None, Array]:
    """Shading and sensitivity (h, w) or None where all are 1; offsets broadcastable to (h, w)."""
    shading: Array | None = None
    if params.vignetting:
        shading = 1 - np.float32(params.vignetting) * _off_axis(height, width)
    if not params.pixel_pattern and not params.column_pattern:
        return shading, np.zeros((1, 1), np.float32)
    rng = generator(params.pattern_seed)
    top, left = rng.integers(0, 256, 2)
    pattern = _pattern_bank()
    if params.pixel_pattern and height + top <= _PATTERN and width + left <= _PATTERN:
        uneven = pattern[top : top + height, left : left + width]
        sensitivity = 1 + np.float32(params.pixel_pattern) * uneven
        shading = sensitivity if shading is None else shading * sensitivity
    columns = rng.standard_normal((1, width), np.float32)
    return shading, columns * np.float32(params.column_pattern / _electrons(params))


@lru_cache(maxsize=1)
def _pattern_bank() -> Array:
    return generator(1).standard_normal((_PATTERN, _PATTERN), np.float32)


def _demosaiced(mosaic: Array, params: SensorParams) -> Array:
    how = _DEMOSAICING[params.mosaic, params.edge_aware]
    return np.asarray(cv2.cvtColor(mosaic, how))


def _corrected(raw: Array, params: SensorParams) -> Array:
    """uint16 (h, w, 3): linear light, 65535 is the picture's white, below black is cut."""
    error = np.zeros((3, 3))
    error[~np.eye(3, dtype=bool)] = params.colour_error
    error += np.eye(3) - np.diag(error.sum(axis=1))
    vivid = params.saturation * np.eye(3) + (1 - params.saturation) * LUMINANCE
    warm, magenta = params.temperature / 2, params.tint
    balance = 2.0 ** np.array([warm + magenta / 3, -2 * magenta / 3, magenta / 3 - warm])
    matrix = vivid @ error @ np.diag(balance) @ np.linalg.inv(_filters(params))
    matrix *= 65535.0 / _SPAN
    affine = np.column_stack([matrix, matrix @ np.full(3, -_BLACK)])
    return np.asarray(cv2.transform(raw, affine))


def _encoded(light: Array, params: SensorParams) -> Array:
    """uint8 (h, w, 3): local and global tone curve."""
    if params.local_tone > 0.02:
        light = _locally_lifted(light, params.local_tone)
    table = _tone_table(params.shoulder, params.gamma, params.contrast, params.black, params.white)
    return np.asarray(table.take(light >> 2))


def _locally_lifted(light: Array, strength: float) -> Array:
    height, width = light.shape[:2]
    coarse = (_TONE_CELLS, max(round(_TONE_CELLS * height / width), 2))
    small = cv2.resize(light, coarse, interpolation=cv2.INTER_AREA)
    luminance = (small.astype(np.float32) / 65535) @ LUMINANCE + np.float32(0.01)
    around = cv2.GaussianBlur(luminance, (0, 0), 2.5, borderType=cv2.BORDER_REPLICATE)
    lift = np.clip((np.float32(0.2) / around) ** np.float32(strength), 0.3, 5.0)
    lift = cv2.resize(lift, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.minimum(light * lift[..., None], 65535).astype(np.uint16))


@lru_cache(maxsize=128)
def _tone_table(
    shoulder: float, gamma: float, contrast: float, black: float, white: float
) -> Array:
    """uint8 (2^14,)."""
    light = (np.arange(_CODES) + 0.5) / _CODES
    value = to_srgb(light * (1 + shoulder) / (1 + shoulder * light)).astype(np.float64) ** gamma
    value += contrast * value * (1 - value) * (2 * value - 1)
    value = black + (white - black) * value
    return np.rint(np.clip(value, 0, 1) * 255).astype(np.uint8)


def _denoised(code: Array, params: SensorParams) -> Array:
    if params.median:
        code = np.asarray(cv2.medianBlur(code, 3))
    if not params.bilateral and params.chroma_blur < 0.2:
        return code
    luma, *chroma = cv2.split(cv2.cvtColor(code, cv2.COLOR_RGB2YCrCb))
    if params.bilateral:
        luma = cv2.bilateralFilter(luma, 5, params.bilateral, 1.6)
    planes = [luma, *(_blurred(plane, params.chroma_blur) for plane in chroma)]
    return np.asarray(cv2.cvtColor(cv2.merge(planes), cv2.COLOR_YCrCb2RGB))


def _sharpened(code: Array, params: SensorParams) -> Array:
    if params.sharpening < 0.02:
        return code
    luma, *chroma = cv2.split(cv2.cvtColor(code, cv2.COLOR_RGB2YCrCb))
    amount = params.sharpening
    luma = cv2.addWeighted(luma, 1 + amount, _blurred(luma, params.sharpening_radius), -amount, 0.0)
    return np.asarray(cv2.cvtColor(cv2.merge([luma, *chroma]), cv2.COLOR_YCrCb2RGB))
