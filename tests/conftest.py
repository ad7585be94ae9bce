"""For all tests: no example of Hypothesis has a deadline, because the machines that run them are shared, and
commands are told no width unless a test tells them.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

# pytest loads GNU readline, which puts them where child processes find them, but `os.environ` does not.
for name in ("COLUMNS", "LINES"):
    if name not in os.environ:
        os.unsetenv(name)
