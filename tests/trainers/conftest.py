"""People for the tests of the synthesis: the portraits that installed packages carry."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from padflow.trainers.attacks.people import (
    FaceFinder,
    PersonPicture,
    portrait_pictures,
    trimmed,
)


@pytest.fixture(scope="session")
def finder(models: Path) -> Iterator[FaceFinder]:
    """Finds faces and mattes."""
    with FaceFinder() as found:
        yield found


@pytest.fixture(scope="session")
def portraits(finder: FaceFinder) -> list[PersonPicture]:
    """Two people as they come from the packages."""
    pytest.importorskip("skimage", reason="scikit-image carries a portrait")
    return portrait_pictures(finder)


@pytest.fixture(scope="session")
def people(portraits: list[PersonPicture]) -> list[PersonPicture]:
    """The same as the synthesis takes them."""
    return [trimmed(picture) for picture in portraits]
