import numpy as np

from padflow.trainers.attacks.light import to_linear
from padflow.trainers.attacks.matte import pad_picture, person_coverage, unmixed_colours
from padflow.trainers.attacks.parameters import Array


def _disc() -> tuple[Array, Array, Array]:
    """A red disc on green, a rough outline of it, and its true mask."""
    y, x = np.mgrid[:120, :160]
    mask = np.hypot(x - 80, y - 60) < 35
    noise = np.random.default_rng(0).integers(-12, 12, (120, 160, 3))
    image = np.where(mask[..., None], (180, 40, 40), (40, 150, 60)) + noise
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    outline = np.column_stack([80 + 37 * np.cos(angle), 60 + 37 * np.sin(angle)])
    return image.clip(0, 255).astype(np.uint8), outline.astype(np.float32), mask


def test_the_edge_follows_the_picture_and_not_the_rough_outline() -> None:
    image, outline, mask = _disc()
    coverage = person_coverage(image, outline)
    assert ((coverage > 0.5) == mask).mean() > 0.985
    assert coverage[60, 80] == 1.0
    assert coverage[5, 5] == 0.0


def test_the_old_background_does_not_come_along() -> None:
    image, outline, _ = _disc()
    coverage = person_coverage(image, outline)
    colours = unmixed_colours(to_linear(image), coverage)
    edge = (coverage > 0.02) & (coverage < 0.98)
    assert edge.any()
    assert (colours[edge][:, 0] > 3 * colours[edge][:, 1]).all()
    assert np.isfinite(colours).all()


def test_padding_mirrors_below_and_repeats_elsewhere() -> None:
    image = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
    padded = pad_picture(image, 2, 3)
    assert padded.shape == (10, 8, 3)
    assert (padded[2:7, 2:6] == image).all()
    assert (padded[0, 2:6] == image[0]).all()
    assert (padded[7:10, 2:6] == image[:-4:-1]).all()
