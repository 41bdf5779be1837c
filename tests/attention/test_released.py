"""SwiftEdit's attention as released: what it controls, and that it leaves no trace.

That its numbers are those of the released code is compared in tests/parity/edit.py.
"""

import pytest
import torch

from swiftpie.attention.install import ReleasedAttention, install_released


def test_undo_restores_the_very_same_objects(unet, installation):
    before = dict(unet.attn_processors)
    weights = {name: weight.clone() for name, weight in unet.state_dict().items()}
    with install_released(installation):
        during = dict(unet.attn_processors)
    after = unet.attn_processors
    assert {*after} == {*before}
    assert all(after[name] is processor for name, processor in before.items())
    assert all(torch.equal(weights[name], weight) for name, weight in unet.state_dict().items())
    replaced = {name for name in before if during[name] is not before[name]}
    assert replaced == {f"{name}.processor" for name in installation.semantic}
    assert all(isinstance(during[name], ReleasedAttention) for name in replaced)


def test_an_exception_inside_undoes_too(unet, installation):
    before = dict(unet.attn_processors)
    with pytest.raises(RuntimeError, match="stop"), install_released(installation):
        raise RuntimeError("stop")
    assert all(unet.attn_processors[name] is processor for name, processor in before.items())
