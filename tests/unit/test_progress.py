"""How work under way is told: text, durations, and pace."""

import pytest

from stpa.progress import NO_DETAILS, PACE_SECONDS, Pace, describe, format_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (45.0, "45 s"),
        (89.0, "89 s"),
        (95.0, "2 min"),
        (5e3, "83 min"),
        (5400.0, "1.5 h"),
    ],
)
def test_durations_have_two_digits_or_so_and_a_unit(seconds, text):
    assert format_duration(seconds) == text


def test_a_report_is_its_details_or_else_its_numbers():
    assert describe(3, 8, NO_DETAILS) == "3/8"
    assert describe(3, 8, {"epoch": "1/2", "loss": "0.912"}) == "epoch 1/2, loss 0.912"


def test_one_report_tells_no_pace():
    pace = Pace()
    pace.add(10.0, 4)
    pace.add(20.0, 4)
    assert pace.per_second is None
    assert pace.seconds_for(8) is None


def test_pace_is_that_of_the_last_minute():
    pace = Pace()
    for done in range(101):  # one per second, and then one in ten
        pace.add(float(done), done)
    for step in range(1, 11):
        pace.add(100.0 + 10 * step, 100 + step)
    assert pace.per_second == pytest.approx(0.1, rel=0.2)
    assert pace.seconds_for(5) == pytest.approx(50, rel=0.2)
    assert PACE_SECONDS == 60


def test_a_pace_of_long_steps_is_by_the_last_two():
    pace = Pace()
    for step in range(5):
        pace.add(1000.0 * step, step)
    assert pace.per_second == pytest.approx(0.001)


def test_work_that_goes_back_to_a_checkpoint_does_not_count_backwards():
    pace = Pace()
    for seconds, done in [(0.0, 10), (1.0, 20), (50.0, 5), (51.0, 6)]:
        pace.add(seconds, done)
    assert pace.per_second == pytest.approx(1.0)
