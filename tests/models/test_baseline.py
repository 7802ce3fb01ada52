import pytest

from dotbias.errors import SettingError
from dotbias.models import Baseline
from tests.models.rows_contract import RowsContract


class TestBaseline(RowsContract):
    model = Baseline()

    def test_has_no_vectors(self, parameters):
        for vectors in (self.model.item_vectors, self.model.user_vectors):
            with pytest.raises(SettingError, match="Baseline has no embeddings to compare"):
                vectors(parameters)
