"""The first signal is a wish, and the second one is not."""

import signal
import threading

import pytest

from stpa.errors import InterruptedTrainingError
from stpa.interruption import (
    is_asked_again,
    is_asked_to_leave,
    leave_if_asked,
    leaving_when_asked,
)

pytestmark = pytest.mark.usefixtures("heed_interrupts")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_wish_and_the_handler_comes_back(number):
    before = signal.getsignal(number)
    with leaving_when_asked():
        leave_if_asked()
        signal.raise_signal(number)
        assert is_asked_to_leave()
        with pytest.raises(InterruptedTrainingError):
            leave_if_asked()
    assert not is_asked_to_leave()
    assert signal.getsignal(number) is before


def test_the_second_one_has_its_effect_and_other_threads_hear_of_it_until_the_next_block():
    with pytest.raises(KeyboardInterrupt), leaving_when_asked():  # noqa: PT012
        signal.raise_signal(signal.SIGTERM)
        assert not is_asked_again()
        signal.raise_signal(signal.SIGINT)
    assert is_asked_again()
    with leaving_when_asked():
        assert not is_asked_again()


def test_in_another_thread_nothing_changes():
    handlers = []

    def look() -> None:
        with leaving_when_asked():
            handlers.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert handlers == [before]
