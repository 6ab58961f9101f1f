"""What the tests of readers share."""

import pytest

from nlptl.errors import DataError


@pytest.fixture
def refused(read):
    """The message with which a file's ``read`` refuses a content."""

    def message(*given, **more):
        with pytest.raises(DataError) as caught:
            read(*given, **more)
        return str(caught.value)

    return message
