import pytest

from swiftpie.errors import InputError
from swiftpie.evaluation.fastface.case import Prompt, read_task


def test_people_and_prompts_come_in_one_order_with_seeds_that_count_up(world):
    task = read_task(world / "people", world / "prompts.txt", seed=50)
    assert [photo.name for photo in task.photos] == ["a.jpg", "b.png", "c.png"]
    cases = [case for photo in task.photos for case in task.cases_of(photo)]
    assert [case.seed for case in cases] == [50, 51, 52, 53, 54, 55]
    assert [case.name for case in cases][:3] == ["000-000", "000-001", "001-000"]
    assert len({case.name for case in cases}) == 6


def test_prompts_are_lower_case_and_know_their_style(world):
    plain, styled = read_task(world / "people", world / "prompts.txt", seed=0).prompts
    assert (plain.text, plain.style) == ("a person reading", "")
    assert (styled.text, styled.style) == ("oil painting; a person at sea", "oil painting")
    assert Prompt("; a person").style == ""


def test_the_fingerprint_sees_pictures_and_prompts(world, tmp_path):
    people = world / "people"
    first = read_task(people, world / "prompts.txt", seed=0)
    again = read_task(people, world / "prompts.txt", seed=1)
    other = tmp_path / "prompts.txt"
    other.write_text("a person reading\n")
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint != read_task(people, other, seed=0).fingerprint


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_nothing_to_draw_is_refused(world, tmp_path, text):
    empty = tmp_path / "prompts.txt"
    empty.write_text(text)
    with pytest.raises(InputError, match="--prompts"):
        read_task(world / "people", empty, seed=0)
    with pytest.raises(InputError, match="--prompts"):
        read_task(world / "people", tmp_path / "missing.txt", seed=0)
    with pytest.raises(InputError, match="--identities"):
        read_task(tmp_path / "nobody", world / "prompts.txt", seed=0)
