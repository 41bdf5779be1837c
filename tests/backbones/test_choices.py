import pytest
import torch

from swiftpie.backbones.choices import dtype_of
from swiftpie.errors import ConfigError


def test_a_type_of_numbers_may_be_given_by_its_name():
    assert dtype_of({"dtype": "bfloat16"}) is dtype_of({"dtype": torch.bfloat16}) is torch.bfloat16
    assert dtype_of({}) is dtype_of({"dtype": None}) is torch.float32


def test_a_name_that_no_type_has_is_refused():
    with pytest.raises(ConfigError, match="'float8' does not exist"):
        dtype_of({"dtype": "float8"})
