"""Datasets: readers that give one Sample type, protocols as data, and what proves a split sound."""

from .layouts import layouts, read_dataset
from .protocols import Split, check_disjoint, load_protocol, protocols, split
from .sample import DataError, Dataset, Sample

__all__ = [
    "DataError",
    "Dataset",
    "Sample",
    "Split",
    "check_disjoint",
    "layouts",
    "load_protocol",
    "protocols",
    "read_dataset",
    "split",
]
