"""SMURFF: Bayesian matrix factorisation by Gibbs sampling, of ratings less their mean (C++)."""

import numpy as np

from method import Answer, Array, Fit, Method, Rows


def sampler(
    rows: Rows,
    seed: int,
    n_threads: int,
    num_latent: int = 16,
    burnin: int = 40,
    nsamples: int = 160,
    precision: float | None = None,
) -> tuple[Fit, Answer]:
    import smurff
    from scipy.sparse import coo_matrix

    shape, known = (rows.n_users, rows.n_items), rows.known
    asked = rows.asked_users[known], rows.asked_items[known]
    session = smurff.TrainSession(
        num_latent=num_latent,
        num_threads=n_threads,
        burnin=burnin,
        nsamples=nsamples,
        seed=seed,
        verbose=0,
    )
    # A value of 0 would be no entry.
    values = rows.values.astype(np.float64) - rows.mean
    values[values == 0] = 1e-9
    noise = smurff.FixedNoise(precision) if precision else smurff.AdaptiveNoise(1.0, 10.0)
    session.setTrain(coo_matrix((values, (rows.users, rows.items)), shape), noise)
    # It averages predictions as it samples, of the pairs that it is told before.
    session.setTest(coo_matrix((np.ones(len(asked[0])), asked), shape))

    def fit() -> None:
        session.init()
        while session.step():
            pass

    def answer() -> Array:
        found = {tuple(one.coords): one.pred_avg for one in session.getTestPredictions()}
        return rows.where_known(
            lambda u, i: [
                rows.mean + found[pair] for pair in zip(u.tolist(), i.tolist(), strict=True)
            ]
        )

    return fit, answer


METHODS = {
    "SMURFF": Method(
        sampler,
        {
            "num_latent": (8, 16, 32, 64),
            "burnin": (40, 80),
            "nsamples": (100, 200, 300),
            "precision": (None, 1.0, 1.5, 2.0),
        },
    )
}
