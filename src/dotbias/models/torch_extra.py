"""PyTorch, which is an extra: nothing but what needs it imports it."""

from typing import Any

from dotbias.errors import SettingError
from dotbias.extras import install


def require_torch() -> Any:
    """The module ``torch``.

    Raises:
        SettingError: when it is not installed; it says what to type.
    """
    try:
        import torch
    except ImportError:
        raise SettingError(
            f"this needs PyTorch, which is not installed: {install('torch')} "
            "(for a build without GPU support, first "
            "pip install torch --index-url https://download.pytorch.org/whl/cpu)"
        ) from None
    return torch
