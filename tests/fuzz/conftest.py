"""What several of the fuzz tests need."""

import pytest


@pytest.fixture
def quiet_transformers():
    """Each load would print a bar and a table of weights."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error(), logging.disable_progress_bar()
    yield
    logging.set_verbosity(before), logging.enable_progress_bar()
