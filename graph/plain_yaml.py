"""YAML as plain data: one way to read it for graphs, policies, recipes and all else."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import yaml


def read_yaml(text: str, loader: "type[yaml.SafeLoader] | None" = None) -> Any:
    """Plain data of a YAML text.

    Args:
        text: The YAML.
        loader: With rules of its own; None: PyYAML's safe one.

    Raises:
        yaml.YAMLError: It is no YAML, or nested deeper than can be read.
    """
    import yaml

    try:
        return yaml.load(text, loader or yaml.SafeLoader)
    except RecursionError as error:
        raise yaml.YAMLError("nested deeper than can be read") from error
