"""What ends a training at once.

By itself, for Ray Train's controller imports it: a process that has no use for the network's
libraries, and would take seconds to load them.
"""

from typing import Any

from ray.train import UserCallback

from stpa.errors import StpaError


class FailFast(UserCallback):
    """Ends the training where the workers' own error says that a restart will not help.

    Ray counts restarts alike for every error of a worker; what a callback raises it never retries.
    """

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        for error in worker_exceptions.values():
            if isinstance(error, StpaError) and not error.transient:
                raise error
