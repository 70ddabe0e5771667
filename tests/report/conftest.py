import pytest
from sample_report import sample_report


@pytest.fixture
def report():
    return sample_report()
