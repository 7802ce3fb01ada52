"""What tests that compare with PyTorch share."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def one_thread_in_double_precision() -> Iterator[None]:
    """NAdam keeps its product in the default precision; small tensors are slower when shared out."""
    import torch

    n_threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_num_threads(n_threads)
    torch.set_default_dtype(dtype)
