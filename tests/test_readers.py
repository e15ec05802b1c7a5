"""Every reader of outside bytes reads damaged input or raises one clear error; ``benchmarks/fuzz.py`` feeds it more."""

import pytest
from faults.readers import READERS
from hypothesis import HealthCheck, given, settings

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", READERS)
def test_a_reader_of_outside_bytes_reads_or_raises_one_clear_error(name):
    reader = READERS[name]

    @settings(max_examples=40, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(reader.inputs)
    def check(value):
        reader.check(value)

    check()
