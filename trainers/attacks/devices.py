"""Which cameras there are: kinds, forty numbered devices, and what differs from shot to shot.

A device keeps its sensor, its processing and its tone; focus, exposure, white balance and motion
are drawn for every shot. Protocols with unseen cameras split by the device's number. Neither knows
of live and attack.
"""

from dataclasses import replace
from typing import Any, get_args

import numpy as np

from .parameters import generator
from .sensor import Kind, Mosaic, SensorParams

CAMERAS = 40
"""Devices of the bank, numbered from 0; their kinds take turns."""
KINDS: tuple[Kind, ...] = get_args(Kind)
_BANK_SEED = 20


def draw_sensor(rng: np.random.Generator, kind: Kind | None = None) -> SensorParams:
    """A camera and a shot, both new.

    Args:
        rng: Where the draw comes from.
        kind: What the camera is; any, when not given.
    """
    chosen = kind or KINDS[rng.integers(len(KINDS))]
    return draw_shot(rng, _draw_device(rng, chosen, chosen), chosen)


def draw_camera(rng: np.random.Generator, camera_id: int) -> SensorParams:
    """A new shot of a device of the bank.

    Args:
        rng: Where the shot's draw comes from; the device does not depend on it.
        camera_id: Number of the device, 0 to 39.
    """
    return draw_shot(rng, device(camera_id), kind_of(camera_id))


def kind_of(camera_id: int) -> Kind:
    """What a device of the bank is."""
    return KINDS[camera_id % len(KINDS)]


def device(camera_id: int) -> SensorParams:
    """A device of the bank, before anything of a shot is drawn."""
    if not 0 <= camera_id < CAMERAS:
        raise ValueError(f"camera {camera_id}: the bank has cameras 0 to {CAMERAS - 1}")
    rng = generator(_BANK_SEED, camera_id)
    kind = kind_of(camera_id)
    return _draw_device(rng, kind, f"{kind}-{camera_id:02d}")


def draw_shot(rng: np.random.Generator, base: SensorParams, kind: Kind) -> SensorParams:
    """Focus, light, exposure, white balance and motion of one picture of a device.

    About one shot in eight is in poor light: much gain, often too dark, and pale. Cameras smooth
    the more the higher their gain is, over time and over the picture.
    """
    poor = rng.random() < (0.08 if kind in ("phone", "good") else 0.14)
    gain = _log(rng, 4, 24) if poor else _log(rng, 1, 5)
    exposure = rng.normal(-0.5 if poor else 0.0, 0.6 if poor else 0.4)
    smoothing = np.log2(gain) * rng.uniform(0.4, 1.2)
    flattening = base.bilateral or (5.0 if gain > 6 and rng.random() < 0.7 else 0.0)
    moving = rng.random() < (0.5 if poor else 0.25)
    length = rng.exponential(2.0) if moving else 0.0
    angle = rng.uniform(0, np.pi)
    focus = rng.exponential(1.2) if rng.random() < 0.15 else abs(rng.normal(0, 0.4))
    return replace(
        base,
        defocus=float(np.clip(focus, 0, 5)),
        gain=float(np.clip(gain, 1, 40)),
        averaged=float(np.clip(base.averaged * 2 ** (0.7 * smoothing), 1, 16)),
        bilateral=float(np.clip(flattening * (0.7 + 0.4 * smoothing), 0, 60)),
        chroma_blur=float(np.clip(base.chroma_blur + 0.4 * smoothing, 0, 4)),
        exposure=float(np.clip(exposure, -2.5, 1.8)),
        temperature=float(np.clip(base.temperature + rng.normal(0, 0.16), -1.2, 1.2)),
        tint=float(np.clip(base.tint + rng.normal(0, 0.08), -0.4, 0.4)),
        saturation=base.saturation * (float(rng.uniform(0.5, 1)) if poor else 1.0),
        motion=(
            float(np.clip(length * np.cos(angle), -9, 9)),
            float(np.clip(length * np.sin(angle), -9, 9)),
        ),
        rolling=float(np.clip(rng.normal(0, 3.0), -12, 12)) if moving else 0.0,
    )


def _log(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _sometimes(rng: np.random.Generator, chance: float, low: float, high: float) -> float:
    """Zero, or a number of the range."""
    return float(rng.uniform(low, high)) if rng.random() < chance else 0.0


def _draw_device(rng: np.random.Generator, kind: Kind, name: str) -> SensorParams:
    return SensorParams(
        name=name,
        pattern_seed=int(rng.integers(1 << 31)),
        mosaic=get_args(Mosaic)[rng.integers(4)],
        edge_aware=bool(rng.random() < 0.6),
        raw_bits=int(rng.choice((10, 10, 12))),
        crosstalk=float(rng.uniform(0.05, 0.4)),
        colour_error=tuple(np.clip(rng.normal(0, 0.05, 6), -0.2, 0.2).tolist()),
        enlarging=("linear", "cubic", "lanczos")[rng.integers(3)],
        **_KIND_DRAWS[kind](rng),
    )


def _tone(rng: np.random.Generator, vivid: tuple[float, float]) -> dict[str, Any]:
    """One device in three is hazy: a dirty window, light in the lens, a flat picture profile."""
    hazy = rng.random() < 1 / 3
    pale = float(rng.uniform(0.55, 0.95)) if hazy else 1.0
    return {
        "saturation": float(rng.uniform(*vivid)) * pale,
        "gamma": float(rng.uniform(0.82, 1.22)),
        "contrast": float(rng.uniform(-0.15, 0.7)),
        "black": float(rng.uniform(0.04, 0.28) if hazy else rng.uniform(-0.07, 0.03)),
        "white": float(rng.uniform(0.94, 1.06)),
        "temperature": float(rng.normal(0, 0.15)),
        "tint": float(rng.normal(0, 0.06)),
    }


def _webcam(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "lens_blur": float(rng.uniform(0.3, 0.9)),
        "edge_blur": _sometimes(rng, 0.3, 0.3, 1.5),
        "fringe": _sometimes(rng, 0.4, -0.8, 0.8),
        "vignetting": _sometimes(rng, 0.6, 0.05, 0.4),
        "flare": float(rng.uniform(0, 0.025)),
        "sampling": float(rng.choice((0.5, 0.7, 0.85, 1.0, 1.0, 1.0, 1.5, 2.0))),
        "full_well": _log(rng, 3000, 9000),
        "read_noise": float(rng.uniform(2, 7)),
        "row_noise": _sometimes(rng, 0.3, 0.1, 0.8),
        "column_pattern": _sometimes(rng, 0.3, 0.1, 0.8),
        "pixel_pattern": float(rng.uniform(0, 0.012)),
        "shoulder": _sometimes(rng, 0.5, 0.2, 2.0),
        "local_tone": _sometimes(rng, 0.15, 0.05, 0.25),
        "median": bool(rng.random() < 0.25),
        "bilateral": _sometimes(rng, 0.5, 6, 28),
        "chroma_blur": _sometimes(rng, 0.6, 0.6, 2.5),
        "sharpening": _sometimes(rng, 0.75, 0.2, 1.8),
        "sharpening_radius": float(rng.uniform(0.6, 1.6)),
        **_tone(rng, (0.8, 1.4)),
    }


def _laptop(rng: np.random.Generator) -> dict[str, Any]:
    return {
        **_webcam(rng),
        "full_well": _log(rng, 1800, 5500),
        "sampling": float(rng.choice((0.5, 0.6, 0.75, 1.0, 1.0))),
        "bilateral": _sometimes(rng, 0.7, 10, 40),
        "chroma_blur": float(rng.uniform(0.5, 3.0)),
        "flare": float(rng.uniform(0, 0.04)),
    }


def _phone(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "lens_blur": float(rng.uniform(0.25, 0.6)),
        "fringe": _sometimes(rng, 0.3, -0.4, 0.4),
        "vignetting": _sometimes(rng, 0.4, 0.05, 0.2),
        "flare": float(rng.uniform(0, 0.015)),
        "sampling": float(rng.choice((1.0, 1.5, 2.0, 3.0))),
        "full_well": _log(rng, 4000, 9000),
        "read_noise": float(rng.uniform(1, 3)),
        "pixel_pattern": float(rng.uniform(0, 0.006)),
        "shoulder": float(rng.uniform(0.2, 2.5)),
        "local_tone": _sometimes(rng, 0.6, 0.05, 0.35),
        "bilateral": _sometimes(rng, 0.7, 4, 18),
        "chroma_blur": _sometimes(rng, 0.5, 0.4, 1.5),
        "sharpening": float(rng.uniform(0.1, 1.3)),
        "sharpening_radius": float(rng.uniform(0.5, 1.2)),
        **_tone(rng, (0.95, 1.35)),
    }


def _door_cctv(rng: np.random.Generator) -> dict[str, Any]:
    return {
        **_webcam(rng),
        "edge_blur": _sometimes(rng, 0.7, 0.3, 2.0),
        "fringe": _sometimes(rng, 0.7, -1.3, 1.3),
        "vignetting": float(rng.uniform(0.05, 0.45)),
        "sampling": float(rng.choice((0.7, 1.0, 1.0, 1.2, 1.5, 2.0))),
        "full_well": _log(rng, 4000, 14000),
        "local_tone": _sometimes(rng, 0.5, 0.1, 0.45),
        "sharpening": _sometimes(rng, 0.9, 0.3, 2.2),
        **_tone(rng, (0.75, 1.3)),
    }


def _good(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "lens_blur": float(rng.uniform(0.2, 0.5)),
        "sampling": float(rng.choice((1.0, 1.0, 1.5, 2.0))),
        "vignetting": _sometimes(rng, 0.4, 0.03, 0.2),
        "full_well": _log(rng, 10000, 40000),
        "read_noise": float(rng.uniform(1, 4)),
        "pixel_pattern": float(rng.uniform(0, 0.004)),
        "shoulder": _sometimes(rng, 0.4, 0.2, 1.0),
        "bilateral": _sometimes(rng, 0.25, 3, 10),
        "sharpening": _sometimes(rng, 0.6, 0.1, 0.7),
        "sharpening_radius": float(rng.uniform(0.5, 1.2)),
        **_tone(rng, (0.9, 1.15)),
    }


_KIND_DRAWS = {
    "webcam": _webcam,
    "phone": _phone,
    "door_cctv": _door_cctv,
    "laptop": _laptop,
    "good": _good,
}
