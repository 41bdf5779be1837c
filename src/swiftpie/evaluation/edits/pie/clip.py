"""CLIP with its tokenizer, from a folder that the user gives."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from transformers import AutoTokenizer, BatchEncoding, CLIPModel, PreTrainedTokenizerBase

from swiftpie.errors import WeightsError, short_reason


@dataclass(frozen=True, eq=False)
class ClipNetwork:
    """The network, in float32 and frozen, and what it takes."""

    model: CLIPModel
    tokenizer: PreTrainedTokenizerBase
    side_px: int  # of the pictures it sees
    max_tokens: int

    @classmethod
    def read(cls, folder: Path, *, what: str) -> Self:
        """Read a CLIP model as transformers saves it.

        Args:
            folder: Holds it.
            what: How messages call the model that is needed.

        Raises:
            WeightsError: There is none in `folder`.
        """
        try:
            model = CLIPModel.from_pretrained(folder, local_files_only=True)
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise WeightsError(unreadable(folder, what, error)) from error
        settings = model.config.to_dict()
        return cls(
            model.float().eval().requires_grad_(False),
            tokenizer,
            side_px=settings["vision_config"]["image_size"],
            max_tokens=settings["text_config"]["max_position_embeddings"],
        )

    def tokens(self, text: str) -> BatchEncoding:
        """Return `input_ids` and `attention_mask` (1, N) of a text; what is too long is cut off."""
        return self.tokenizer(
            text, return_tensors="pt", truncation=True, max_length=self.max_tokens
        )


def unreadable(folder: Path, what: str, error: Exception) -> str:
    """Return the message for a folder that does not hold `what`."""
    return (
        f"'{folder}' cannot be read ({short_reason(error)}). A folder with {what} as transformers "
        "saves it is needed. Check the path, or leave the option out."
    )
