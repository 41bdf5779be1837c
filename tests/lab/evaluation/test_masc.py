import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from transformers import AutoTokenizer, Siglip2ImageProcessorPil, Siglip2Model

from swiftpie.imageio.images import plane, to_tensor
from swiftpie_lab.evaluation.case import METRICS, Evidence, ReferencePhoto
from swiftpie_lab.evaluation.judges import Networks, load_judge
from swiftpie_lab.evaluation.metrics.perceptual import without_subject
from tests.tiny.judges import write_siglip2

PROMPT, NOUN = "a photo of the Cat on the red sofa", "cat"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_siglip2(tmp_path_factory.mktemp("siglip2"))


def picture(seed, size):
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.NEAREST)


def mask(size, box):
    found = Image.new("L", size)
    found.paste(255, box)
    return found


def evidence_of(folder, drawn, claimed, references):
    return Evidence(
        picture=to_tensor(drawn),
        claimed=plane(claimed),
        prompt=PROMPT,
        noun=NOUN,
        references=tuple(references),
        networks=Networks(siglip2=load_judge("siglip2", folder)),
    )


class Written:
    """The paper's definitions, written out in float64 beside transformers' encoders."""

    def __init__(self, folder):
        self.model = Siglip2Model.from_pretrained(folder).double().eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.processor = Siglip2ImageProcessorPil()

    def patches(self, image):
        inputs = self.processor(images=[image], max_num_patches=1024, return_tensors="pt")
        rows, columns = inputs["spatial_shapes"][0].tolist()
        hidden = self.model.vision_model(
            inputs["pixel_values"].double(),
            inputs["pixel_attention_mask"],
            torch.tensor([[rows, columns]]),
        ).last_hidden_state
        return hidden[0, : rows * columns], (rows, columns)

    def inside(self, mask, grid):
        values = torch.from_numpy(np.asarray(mask, dtype=np.float64) / 255)[None, None]
        return F.interpolate(values, grid, mode="bilinear", align_corners=False).flatten()

    def cp(self, image, reference, mask):
        (mine, _), (theirs, grid) = self.patches(image), self.patches(reference)
        theirs = theirs[self.inside(mask, grid) > 0.5].numpy()
        lengths = np.outer(np.linalg.norm(theirs, axis=1), np.linalg.norm(mine.numpy(), axis=1))
        return (theirs @ mine.numpy().T / lengths).max(axis=1).mean()

    def pf(self, image, mask, text):
        patches, grid = self.patches(image)
        keys = patches[self.inside(mask, grid) < 0.5]
        head = self.model.vision_model.head
        weights, offsets = (
            head.attention.in_proj_weight.chunk(3),
            head.attention.in_proj_bias.chunk(3),
        )
        query, key, value = (
            (x @ w.T + b).unflatten(-1, (head.num_heads, -1)).transpose(0, 1)
            for x, w, b in zip((head.probe[0], keys, keys), weights, offsets, strict=True)
        )
        attention = (query @ key.transpose(1, 2) / key.shape[-1] ** 0.5).softmax(-1)
        pooled = head.attention.out_proj((attention @ value).transpose(0, 1).flatten(1))
        pooled = (pooled + head.mlp(head.layernorm(pooled)))[0]
        tokens = self.tokenizer(text, padding="max_length", max_length=8, return_tensors="pt")
        words = self.model.text_model(tokens["input_ids"]).pooler_output[0]
        return float(pooled @ words / (pooled.norm() * words.norm()))


@torch.no_grad()
def test_scores_are_the_papers_in_float64(folder):
    size, wide = (96, 64), (64, 96)
    drawn, claimed = picture(0, size), mask(size, (20, 10, 70, 50))
    pairs = [(picture(1, wide), mask(wide, (0, 30, 40, 90))), (picture(2, size), claimed)]
    evidence = evidence_of(folder, drawn, claimed, [ReferencePhoto(*pair) for pair in pairs])
    cp, pf = (METRICS.get(f"masc-{name}").score(evidence) for name in ("cp", "pf"))
    written = Written(folder)
    expected = [written.cp(drawn, *pair) for pair in pairs]
    assert cp == pytest.approx(np.mean(expected), abs=1e-4)
    assert pf == pytest.approx(written.pf(drawn, claimed, "a photo of on the red sofa"), abs=1e-4)
    assert abs(expected[0] - expected[1]) > 1e-3


@pytest.mark.parametrize(
    ("prompt", "noun", "rest"),
    [
        ("a dog in the snow", "dog", "in the snow"),
        ("a red dog", "dog", "a red"),
        ("The robot toy, and a robot toy", "robot toy", ", and"),
        ("dogs on a hotdog", "dog", "dogs on a hotdog"),
        ("a dog", "", "a dog"),
    ],
)
def test_the_subject_leaves_the_prompt_with_its_article(prompt, noun, rest):
    assert without_subject(prompt, noun) == rest
