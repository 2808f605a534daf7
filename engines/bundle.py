"""A network with its manifest, as padflow ships it."""

from pathlib import Path

from .errors import BundleError
from .network import Network, Precision


def bundle_folders() -> dict[str, Path]:
    """The bundles that are installed, by name."""
    return {}


def bundle_network(folder: Path, precision: Precision = "auto") -> Network:
    """The network of a bundle's folder."""
    raise BundleError(f"bundle {folder}: bundles cannot be read yet")
