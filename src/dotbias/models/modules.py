"""The PyTorch modules inside models: plain ``nn.Module``, to be subclassed or taken out."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

_START = 0.01
_SIXTEEN_BITS = 1 << 16
_LARGE = 16_384


class Dropout(nn.Dropout):
    """``nn.Dropout``; large inputs from 16 random bits a number, which takes half the time on the CPU.

    The share that is left out is then ``p`` rounded to a multiple of 1 / 65,536.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``x`` with numbers left out, and the others made larger by as much; in evaluation, ``x``."""
        n, dropped = x.numel(), round(self.p * _SIXTEEN_BITS)
        if not self.training or not dropped or n < _LARGE:
            return super().forward(x)
        words = torch.empty(-(-n // 4), dtype=torch.int64, device=x.device).random_(-(2**63), None)
        bits = words.view(torch.int16)[:n].view(x.shape)
        kept = (bits >= dropped - _SIXTEEN_BITS // 2).to(x.dtype)
        return x * kept.mul_(_SIXTEEN_BITS / (_SIXTEEN_BITS - dropped))


class EmbeddingNetModule(nn.Module):
    """See ``EmbeddingNet``, which makes it.

    The last row of each table stands for the unknown: no gradient reaches it, and ``refresh`` sets it to
    the mean of the others.

    Args:
        users, items: rows and columns of both tables, the row of the unknown included.
        hidden: sizes of the hidden layers.
        embedding_dropout, dropout: shares that are dropped.
        batch_norm: whether hidden layers are normalised.
        rating_range: ends of the sigmoid's range, or None for a linear output.
        mean: the rating where predictions start.
    """

    def __init__(
        self,
        users: tuple[int, int],
        items: tuple[int, int],
        *,
        hidden: Sequence[int],
        embedding_dropout: float,
        dropout: float,
        batch_norm: bool,
        rating_range: tuple[float, float] | None,
        mean: float,
    ) -> None:
        super().__init__()
        self.user_factors = nn.Embedding(*users, padding_idx=users[0] - 1)
        self.item_factors = nn.Embedding(*items, padding_idx=items[0] - 1)
        self.embedding_dropout = Dropout(embedding_dropout)
        layers: list[nn.Module] = []
        n_inputs = users[1] + items[1]
        for size in hidden:
            layers.append(nn.Linear(n_inputs, size))
            if batch_norm:
                layers.append(nn.BatchNorm1d(size))
            layers += [nn.ReLU(), Dropout(dropout)]
            n_inputs = size
        self.hidden = nn.Sequential(*layers)
        self.output = nn.Linear(n_inputs, 1)
        self.rating_range = rating_range
        for table in (self.user_factors, self.item_factors):
            nn.init.uniform_(table.weight, -_START, _START)
        for layer in (*self.hidden, self.output):
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        nn.init.constant_(self.output.bias, mean)
        if rating_range is not None:
            low, high = rating_range
            nn.init.constant_(self.output.bias, math.log((mean - low) / (high - mean)))
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Set the rows of the unknown to the mean of all others."""
        for table in (self.user_factors, self.item_factors):
            table.weight[-1] = table.weight[:-1].mean(dim=0)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """Ratings of n pairs of indices, shape (n,)."""
        x = torch.cat([self.user_factors(user), self.item_factors(item)], dim=1)  # (n, k_u + k_i)
        z: Tensor = self.output(self.hidden(self.embedding_dropout(x))).squeeze(1)  # (n,)
        if self.rating_range is None:
            return z
        low, high = self.rating_range
        return low + (high - low) * torch.sigmoid(z)
