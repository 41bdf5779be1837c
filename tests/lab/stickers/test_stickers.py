import torch

from swiftpie_lab.stickers.renderer import draw_frames
from swiftpie_lab.stickers.scenes import SCENES
from swiftpie_lab.stickers.stickers import StickerBatch, StickerWorld, contact_sheet


def tensors(batch):
    values = {k: v for k, v in vars(batch).items() if isinstance(v, torch.Tensor)}
    return values | batch.layout._asdict()


def test_the_same_seed_gives_the_same_batch(world, batch):
    again = world.batch(6, 4, seed=11)
    assert again.captions == batch.captions
    assert again.attributes == batch.attributes
    for name, value in tensors(batch).items():
        assert torch.equal(value, tensors(again)[name]), name


def test_another_seed_gives_another_batch(world, batch):
    other = world.batch(6, 4, seed=12)
    assert not torch.equal(other.noise, batch.noise)
    assert other.captions != batch.captions


def test_batches_have_the_promised_shapes_and_ranges(batch):
    assert isinstance(batch, StickerBatch)
    assert batch.noise.shape == (24, 32, 16, 16)
    assert batch.pixels.shape == batch.background.shape == (24, 3, 64, 64)
    assert batch.mask.shape == (24, 1, 64, 64)
    assert batch.reference.shape == (6, 3, 64, 64)
    assert batch.reference_mask.shape == (6, 1, 64, 64)
    assert len(batch.captions) == len(batch.attributes) == 24
    for pictures in (batch.pixels, batch.background, batch.reference):
        assert torch.isfinite(pictures).all()
        assert pictures.min() >= -1
        assert pictures.max() <= 1
    for masks in (batch.mask, batch.reference_mask):
        assert masks.min() >= 0
        assert masks.max() <= 1


def test_views_of_a_subject_are_consecutive_rows(batch):
    subject = batch.subject.view(6, 4)
    assert torch.equal(subject, subject[:, :1].expand(6, 4))
    assert len(set(subject[:, 0].tolist())) == 6
    assert set(batch.scene.tolist()) <= set(range(len(SCENES)))


def test_splits_draw_their_own_subjects_only(subjects):
    for split in ("train", "held_out"):
        drawn = StickerWorld(subjects, split, size_px=32).batch(2, 1, seed=0).subject
        assert set(drawn.tolist()) <= set(subjects.indices(split))


def test_references_show_the_subject_upright_and_whole(batch):
    inside = batch.reference_mask[:, :, 1:-1, 1:-1].sum(dim=(1, 2, 3))
    assert (inside / batch.reference_mask.sum(dim=(1, 2, 3))).min() > 0.99
    assert batch.reference_mask.mean(dim=(1, 2, 3)).min() > 0.15


def test_without_augmentation_subjects_are_drawn_as_they_are(world):
    first = world.batch(12, 1, seed=0, augment=False)
    second = world.batch(12, 1, seed=1, augment=False)
    frames = dict(zip(first.subject.tolist(), first.frames, strict=True))
    for subject, frame in zip(second.subject.tolist(), second.frames, strict=True):
        assert torch.allclose(frames[subject], frame, atol=1e-5)


def test_pairs_show_the_subject_of_the_pictures_before_on_the_other_side(world, batch):
    pairs = world.batch(6, 4, seed=11, pairs=True)
    behind = draw_frames(
        pairs.frames.repeat_interleave(4, dim=0).roll(4, 0), pairs.companion_layout, size_px=64
    )
    assert ((behind[:, 3:] - pairs.companion_mask) > -1e-5).all()
    assert (pairs.mask + pairs.companion_mask).max() < 1 + 1e-5
    assert pairs.companion_mask.sum(dim=(1, 2, 3)).min() > 20
    across = pairs.layout.centre[:, 0] - pairs.companion_layout.centre[:, 0]
    assert across.abs().min() > 0.1
    assert all(" and a" in caption for caption in pairs.captions)
    assert batch.companion_layout is None
    assert batch.companion_mask.max() == 0


def test_contact_sheet_has_room_for_every_row(batch):
    sheet = contact_sheet(batch, columns=4)
    assert sheet.size == (4 * (3 * 64 + 2), 6 * (64 + 2))
    assert len(sheet.getcolors(maxcolors=2**20)) > 500
