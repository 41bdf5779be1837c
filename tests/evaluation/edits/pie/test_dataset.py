import numpy as np
import pytest

from swiftpie.errors import InputError
from swiftpie.evaluation.edits.pie.dataset import decode_mask, read_pie, task_of
from tests.evaluation.edits.pie.conftest import RUNS, SIDE_PX


def plain_mask(runs, height, width):
    """The definition once more, pixel by pixel."""
    flat = [0] * (height * width)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        for place in range(start, min(start + length, height * width)):
            flat[place] = 1
    mask = np.array(flat).reshape(height, width)
    mask[0, :] = mask[-1, :] = mask[:, 0] = mask[:, -1] = 1
    return mask


def test_entries_are_read_without_brackets(write, mapping):
    pie = read_pie(write(mapping))
    assert [case.name for case in pie.cases] == list(mapping)
    assert [case.type_id for case in pie.cases] == [1, 2]
    first = pie.cases[0]
    assert (first.source_prompt, first.target_prompt) == ("a cat on a sofa", "a dog on a sofa")
    assert first.keyword == "cat"
    assert len(read_pie(write(mapping), limit=1).cases) == 1


def test_masks_are_runs_over_rows_with_a_border(write, mapping):
    task = task_of(read_pie(write(mapping)).cases[0])
    assert task.source.size == (SIDE_PX, SIDE_PX)
    assert np.array_equal(task.mask[0, 0].numpy(), plain_mask(RUNS, SIDE_PX, SIDE_PX))


@pytest.mark.parametrize(
    "runs", [[], [0, 9], [5, 0], [33, 100], [34, 10**30], [7, 3, 8, 1], [35, 1]]
)
def test_any_runs_decode_as_the_definition_says(runs):
    found = decode_mask(runs, height=5, width=7, name="x")[0, 0]
    assert np.array_equal(found.numpy(), plain_mask(runs, 5, 7))


def test_a_run_that_starts_beyond_the_picture_is_refused():
    with pytest.raises(InputError, match="starts a run at 36"):
        decode_mask([36, 1], height=5, width=7, name="x")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("mask", [1], "broken mask"),
        ("mask", [1, -2], "broken mask"),
        ("mask", [1.5, 2], "broken mask"),
        ("mask", [True, 2], "broken mask"),
        ("mask", "1 2", "broken mask"),
        ("mask", None, "broken mask"),
        ("image_path", "../../secret.jpg", "leads out"),
        ("image_path", "/etc/hostname", "leads out"),
        ("image_path", "nowhere.jpg", "does not exist"),
        ("image_path", "a\0b", "file name"),
        ("image_path", 7, "image_path"),
        ("original_prompt", None, "original_prompt"),
        ("editing_prompt", " ", "editing_prompt"),
        ("editing_type_id", "10", "editing_type_id"),
        ("editing_type_id", "one", "editing_type_id"),
        ("editing_type_id", None, "editing_type_id"),
    ],
)
def test_a_hostile_entry_is_named_and_explained(write, mapping, key, value, words):
    name = list(mapping)[1]
    mapping[name][key] = value
    with pytest.raises(InputError, match=words) as caught:
        read_pie(write(mapping))
    assert name in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", "[" * 100_000, '{"a": 3}'])
def test_a_broken_mapping_is_refused(write, text):
    with pytest.raises(InputError):
        read_pie(write(text))


def test_an_entry_cannot_choose_where_files_are_written(write, mapping):
    mapping["../outside"] = mapping.pop(next(iter(mapping)))
    with pytest.raises(InputError, match="Rename"):
        read_pie(write(mapping))


def test_a_link_out_of_the_folder_is_refused(write, mapping, tmp_path):
    root = write(mapping)
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (root / "annotation_images" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    mapping[next(iter(mapping))]["image_path"] = "link.jpg"
    with pytest.raises(InputError, match="leads out"):
        read_pie(write(mapping))


def test_missing_pictures_and_mappings_are_told(write, mapping, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_pie(write(mapping, pictures=False))
    with pytest.raises(InputError, match="mapping_file"):
        read_pie(tmp_path / "nowhere")
