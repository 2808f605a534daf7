import pytest
import yaml

from padflow.graph.plain_yaml import read_yaml


def test_plain_data_is_read_and_what_is_broken_or_nested_without_end_is_one_kind_of_error() -> None:
    assert read_yaml("a: [1, {b: true}]") == {"a": [1, {"b": True}]}
    with pytest.raises(yaml.YAMLError):
        read_yaml("a: [1")
    with pytest.raises(yaml.YAMLError, match="nested deeper than can be read"):
        read_yaml("[" * 3000 + "]" * 3000)
