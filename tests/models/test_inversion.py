import pytest
import torch

from swiftpie.mini.denoiser import TinyInversion
from swiftpie.models.inversion import INVERSION_TIMESTEP, START
from swiftpie.noise import COUPLED_CHANNELS
from swiftpie.types import TextCondition

MAX_PARAMETERS = 2.7e6  # what the package has room for


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TinyInversion().eval().requires_grad_(False)


def prompts(batch, seed):
    generator = torch.Generator().manual_seed(seed)
    return TextCondition(
        hidden_states=torch.randn(batch, 6, 160, generator=generator),
        attention_mask=torch.ones(batch, 6),
        pooled=torch.randn(batch, 160, generator=generator),
    )


def latents(batch, rows=16, columns=16):
    return torch.randn(batch, 32, rows, columns, generator=torch.Generator().manual_seed(1))


def test_it_is_small_enough_to_ship(network):
    assert sum(weight.numel() for weight in network.parameters()) <= MAX_PARAMETERS


@pytest.mark.parametrize("cells", [(16, 16), (12, 20)])
def test_noise_is_as_large_as_the_latents_and_masks_four_times_finer(network, cells):
    picture = latents(2, *cells)
    assert network(picture, prompts(2, 0)).shape == picture.shape
    first, second = (network.read(picture, prompts(2, seed)) for seed in (0, 1))
    difference = network.compare(first, second)
    assert first.subject.shape == (2, 1, 4 * cells[0], 4 * cells[1])
    assert difference.mask.shape == first.subject.shape
    assert difference.same_subject.shape == (2,)


def test_a_row_of_a_reading_is_the_reading_of_that_picture(network):
    both = network.read(latents(2), prompts(2, 0))
    first = prompts(2, 0)
    alone = network.read(latents(2)[1:], TextCondition(*(part[1:] for part in first)))
    for mine, its in zip(both.row(1), alone, strict=True):
        assert torch.allclose(mine, its, atol=1e-5)


def test_channels_that_pictures_do_not_depend_on_all_hold_the_doubt(network):
    reading = network.read(latents(2), prompts(2, 0))
    free = reading.noise[:, COUPLED_CHANNELS:]
    assert torch.equal(free, torch.sigmoid(reading.doubt).expand_as(free))


def test_padding_of_the_prompt_says_nothing(network):
    text = prompts(1, 0)
    short = text._replace(attention_mask=torch.tensor([[1.0, 1, 1, 0, 0, 0]]))
    other = short.hidden_states.clone()
    other[:, 3:] += 5
    picture = latents(1)
    changed = network(picture, short._replace(hidden_states=other))
    assert torch.allclose(network(picture, short), changed, atol=1e-5)
    assert not torch.allclose(network(picture, text), changed, atol=1e-3)


def test_a_stored_network_says_how_it_is_to_be_used(network, tmp_path):
    network.save_pretrained(tmp_path)
    again = TinyInversion.from_pretrained(tmp_path)
    assert (again.config.start, again.config.timestep) == (START, INVERSION_TIMESTEP)
    mine, its = network.state_dict(), again.state_dict()
    assert all(torch.equal(mine[name], its[name]) for name in mine)
