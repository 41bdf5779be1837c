"""Everything that is trained to make the one-step model."""

from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from swiftpie.models.layout_predictor import LayoutPredictor
from swiftpie.models.tiny import TinyDenoiser
from swiftpie.models.vision import ConvImageEncoder


class OneStepNetworks(nn.Module):
    """All trained parts, as one module."""

    def __init__(self, vocabulary: int, text_length: int, width: int = 160) -> None:
        super().__init__()
        config = CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=5,
            max_position_embeddings=text_length,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=2,
        )
        self.text_encoder = CLIPTextModel(config)
        embedding = self.text_encoder.get_input_embeddings()
        assert isinstance(embedding, nn.Embedding)
        nn.init.normal_(embedding.weight, std=0.5)
        self.image_encoder = ConvImageEncoder(width=width)
        self.layout_predictor = LayoutPredictor(text_width=width)
        self.denoiser = TinyDenoiser(text_width=width)
