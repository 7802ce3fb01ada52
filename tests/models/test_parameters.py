"""The checks that arrays of a model pass."""

import re

import numpy as np
import pytest

from dotbias.errors import SettingError
from dotbias.models import parameters
from dotbias.models.parameters import refuse_not_finite


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 4), (2, 3, 5), (0, 4)])
def test_a_number_that_is_not_finite_is_found_wherever_it_is(shape, monkeypatch):
    monkeypatch.setattr(parameters, "_LOOKED_AT", 3)
    array = np.zeros(shape, np.float32)
    refuse_not_finite("p", array)
    for at in np.ndindex(shape):
        for wrong in (np.nan, -np.inf):
            array[at] = wrong
            where = re.escape(f"p is not finite: {wrong} at [{', '.join(map(str, at))}]")
            with pytest.raises(SettingError, match=where):
                refuse_not_finite("p", array)
            with pytest.raises(SettingError):  # of another layout in memory
                refuse_not_finite("p", array.T)
        array[at] = 0
