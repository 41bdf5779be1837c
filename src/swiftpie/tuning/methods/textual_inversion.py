"""Trains the identity tokens alone, which all cross-attention reads. From arXiv:2208.01618.

Differs from the paper: the words are the subject's identity tokens, which the encoder has already
found, instead of one new word of the prompt.
"""

from torch import nn

from swiftpie.tuning import TuneSettings
from swiftpie.tuning.change import Change, Features, Method, Start, features_of


class IdentityTokens(Change):
    """Tokens, and the vector that the embedding of all blocks reads."""

    def __init__(self, start: Start) -> None:
        super().__init__()
        self._start = start
        self.tokens = nn.Parameter(start.identity.tokens.detach().clone())
        self.pooled = nn.Parameter(start.identity.pooled.detach().clone())

    def forward(self) -> Features:
        """Return the features with these tokens."""
        return features_of(self._start.identity)._replace(tokens=self.tokens, pooled=self.pooled)


def _make(start: Start, settings: TuneSettings) -> Change:
    del settings
    return IdentityTokens(start)


METHOD = Method(learning_rate=0.01, make=_make)
