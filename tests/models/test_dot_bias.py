import numpy as np
import pytest

from dotbias.errors import SettingError
from dotbias.models import DotBias
from tests.models.rows_contract import RowsContract


class TestLinear(RowsContract):
    model = DotBias(n_factors=3)

    def test_the_formula(self, ratings, parameters):
        p, q = parameters["user_factors"], parameters["item_factors"]
        b_u, b_i = parameters["user_bias"], parameters["item_bias"]
        u, i = ratings.user_indices, ratings.item_indices
        z = ratings.global_mean + b_u[u] + b_i[i] + (p[u] * q[i]).sum(axis=1)
        np.testing.assert_allclose(
            self.model.predict(parameters, u, i), np.clip(z, 1, 5), rtol=1e-5
        )


class TestSigmoid(RowsContract):
    model = DotBias(n_factors=3, output="sigmoid", margin=0.25)

    def test_the_formula(self, ratings, parameters):
        p, q = parameters["user_factors"], parameters["item_factors"]
        b_u, b_i = parameters["user_bias"], parameters["item_bias"]
        u, i = ratings.user_indices, ratings.item_indices
        low, high = 1 - 0.25, 5 + 0.25
        share = (ratings.global_mean - low) / (high - low)
        z = np.log(share / (1 - share)) + b_u[u] + b_i[i] + (p[u] * q[i]).sum(axis=1)
        rating = low + (high - low) / (1 + np.exp(-z))
        np.testing.assert_allclose(
            self.model.predict(parameters, u, i), np.clip(rating, 1, 5), rtol=1e-5
        )

    def test_the_ends_of_the_scale_can_be_reached(self, ratings, parameters):
        parameters = parameters | {"user_bias": np.full_like(parameters["user_bias"], 20)}
        prediction = self.model.predict(parameters, ratings.user_indices, ratings.item_indices)
        np.testing.assert_array_equal(prediction, np.float32(5))


# The standard deviation, from kept samples.


N_SAMPLES, N_USERS, N_ITEMS = 7, 5, 4


@pytest.fixture
def samples():
    """Three factors; after the users and the items each sample has the stranger."""
    rng = np.random.default_rng(0)
    normal = {
        "user_samples": rng.standard_normal((N_SAMPLES, N_USERS + 1, 4)),
        "item_samples": rng.standard_normal((N_SAMPLES, N_ITEMS + 1, 4)),
    }
    positive = {
        "noise_variance": np.array([0.7]),
        "user_noise": rng.uniform(0.5, 2, N_USERS + 1),
        "item_noise": rng.uniform(0.5, 2, N_ITEMS + 1),
    }
    return {name: array.astype(np.float32) for name, array in (normal | positive).items()}


def test_the_std_is_that_of_the_samples_and_of_the_noise_and_of_what_is_unknown(samples):
    for rows in (samples["user_samples"], samples["item_samples"]):
        rows[:, -1] = rows[:, :-1].mean(1)  # the stranger
    u, i = (a.ravel().astype(np.int32) for a in np.indices((N_USERS + 1, N_ITEMS + 1)))
    expected = []
    for user, item in zip(u, i, strict=True):
        x, y = samples["user_samples"], samples["item_samples"]
        z = (
            x[:, :, None, 0]
            + y[:, None, :, 0]
            + np.einsum("suk,sik->sui", x[:, :, 1:], y[:, :, 1:])
        )
        # Somebody unknown may be any of those that are known.
        users = range(N_USERS) if user == N_USERS else [user]
        items = range(N_ITEMS) if item == N_ITEMS else [item]
        unknown = np.mean(
            [np.mean((z[:, a, b] - z[:, user, item]) ** 2) for a in users for b in items]
        )
        noise = 0.7 * samples["user_noise"][user] * samples["item_noise"][item]
        expected.append(np.sqrt(np.var(z[:, user, item]) + unknown + noise))
    u[u == N_USERS], i[i == N_ITEMS] = -1, -1
    std = DotBias(n_factors=9).std(samples, u, i)
    assert std.dtype == np.float32
    np.testing.assert_allclose(std, expected, rtol=1e-5)
    np.testing.assert_array_equal(DotBias(n_factors=9).spread(samples, u, i), std)


def test_samples_that_agree_leave_the_noise_alone(samples):
    for name in ("user_samples", "item_samples"):
        samples[name][:] = samples[name][0]
    u, i = np.array([1, 0], np.int32), np.array([2, 0], np.int32)
    noise = 0.7 * samples["user_noise"][u] * samples["item_noise"][i]
    std = DotBias().std(samples, u, i)
    np.testing.assert_allclose(std, np.sqrt(noise), rtol=1e-4)


def test_without_samples_the_message_says_how_to_get_them():
    none = np.empty(0, np.int32)
    with pytest.raises(SettingError, match=r"Gibbs\(keep_samples=50\).*--keep-samples 50"):
        DotBias().std({"user_bias": np.zeros(3, np.float32)}, none, none)


# Settings.


def test_a_fitted_model_has_the_factors_of_its_parameters():
    model = DotBias(n_factors=9, margin=0.3)
    fitted = model.fitted({"user_factors": np.zeros((5, 2), np.float32)})
    assert fitted == DotBias(n_factors=2, margin=0.3)


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
