import numpy as np
import pytest

from dotbias.errors import SettingError
from dotbias.models import DotBias
from dotbias.models import dot_bias as module
from tests.models.contract import ModelContract


class TestLinear(ModelContract):
    model = DotBias(n_factors=3)

    def test_the_formula(self, ratings, parameters):
        p, q = parameters["user_factors"], parameters["item_factors"]
        b_u, b_i = parameters["user_bias"], parameters["item_bias"]
        u, i = ratings.users, ratings.items
        z = ratings.global_mean + b_u[u] + b_i[i] + (p[u] * q[i]).sum(axis=1)
        np.testing.assert_allclose(
            self.model.predict(parameters, u, i), np.clip(z, 1, 5), rtol=1e-5
        )

    def test_chunks_do_not_show(self, ratings, parameters, monkeypatch):
        whole = self.model.predict(parameters, ratings.users, ratings.items)
        monkeypatch.setattr(module, "_CHUNK_FLOATS", 7 * self.model.n_factors)
        parts = self.model.predict(parameters, ratings.users, ratings.items)
        np.testing.assert_allclose(parts, whole, rtol=1e-6)


class TestSigmoid(ModelContract):
    model = DotBias(n_factors=3, output="sigmoid", margin=0.25)

    def test_the_formula(self, ratings, parameters):
        p, q = parameters["user_factors"], parameters["item_factors"]
        b_u, b_i = parameters["user_bias"], parameters["item_bias"]
        u, i = ratings.users, ratings.items
        low, high = 1 - 0.25, 5 + 0.25
        share = (ratings.global_mean - low) / (high - low)
        z = np.log(share / (1 - share)) + b_u[u] + b_i[i] + (p[u] * q[i]).sum(axis=1)
        rating = low + (high - low) / (1 + np.exp(-z))
        np.testing.assert_allclose(
            self.model.predict(parameters, u, i), np.clip(rating, 1, 5), rtol=1e-5
        )

    def test_the_ends_of_the_scale_can_be_reached(self, ratings, parameters):
        parameters["user_bias"][:] = 20
        prediction = self.model.predict(parameters, ratings.users, ratings.items)
        np.testing.assert_array_equal(prediction, np.float32(5))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_factors": 0}, r"DotBias\(n_factors=0\): n_factors must be at least 1"),
        ({"n_factors": 2.5}, r"n_factors must be a whole number at least 1"),
        ({"output": "tanh"}, r"output must be one of 'linear', 'sigmoid'"),
        ({"margin": 0}, r"margin must be above 0"),
        ({"init_std": float("nan")}, r"init_std must be at least 0"),
        ({"init_std": True}, r"init_std must be a number at least 0"),
    ],
)
def test_bad_settings_fail_at_once(settings, message):
    with pytest.raises(SettingError, match=message):
        DotBias(**settings)
