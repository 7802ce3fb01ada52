from dotbias.models import Baseline
from tests.models.contract import RowsContract


class TestBaseline(RowsContract):
    model = Baseline()

    def test_has_no_vectors(self, parameters, ratings):
        assert self.model.item_vectors(parameters).shape == (ratings.n_items, 0)
