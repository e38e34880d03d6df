"""What the settings of a step cache refuse."""

from __future__ import annotations

import pytest

from opent2v.sampling import SamplingError
from opent2v.tests.sampling.caches.doubling import cache


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"policy": "fast"}, "No policy of the step cache is called 'fast'; use one of easycache, first block"),
        ({"policy": "easycache", "threshold": -1.0}, "threshold of the step cache is -1.0; expected 0 to 10."),
        ({"start": 0.9, "end": 0.1}, "start 0.9 and end 0.1 of the step cache; expected 0 <= start <= end <= 1."),
        ({"max_consecutive": 0}, "max_consecutive of the step cache is 0; expected at least 1."),
        ({"plan": "cxr"}, "The plan of the step cache is 'cxr'; expected a number n"),
        ({"plan": ""}, "The plan of the step cache is ''; expected a number n"),
        ({"policy": "magcache", "plan": "1 x"}, "The plan of the step cache is '1 x'; magcache reads one ratio above"),
        ({"policy": "teacache"}, "TeaCache needs coefficients made for the model, and there are none for this MODEL"),
    ],
)
def test_settings_that_cannot_be(given, message):
    with pytest.raises(SamplingError, match="^" + message.replace("(", r"\(")):
        cache(**given)
