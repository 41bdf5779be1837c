"""Trains the subject's tokens, keys and values themselves: the most parameters, the least steps."""

from torch import nn

from swiftpie.tuning import TuneSettings
from swiftpie.tuning.methods import Change, Features, Method, Start, features_of


class Tokens(Change):
    """Every number of the features is a parameter."""

    def __init__(self, known: Features) -> None:
        super().__init__()
        self._layers = list(known.keys)
        rows = [known.tokens, known.pooled]
        rows += [table[name] for name in self._layers for table in (known.keys, known.values)]
        self.rows = nn.ParameterList(nn.Parameter(row.detach().clone()) for row in rows)

    def forward(self) -> Features:
        """Return the parameters as features."""
        tokens, pooled, *others = self.rows
        return Features(
            tokens,
            pooled,
            keys=dict(zip(self._layers, others[::2], strict=True)),
            values=dict(zip(self._layers, others[1::2], strict=True)),
        )


def _make(start: Start, settings: TuneSettings) -> Change:
    del settings
    return Tokens(features_of(start.identity))


METHOD = Method(learning_rate=0.01, make=_make)
