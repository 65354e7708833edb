"""However many processes share a step, and wherever they begin, its clips are the same."""

from hypothesis import given
from hypothesis import strategies as st

from stpa.data.step_sampler import StepSampler


@st.composite
def settings(draw: st.DrawFn) -> tuple[int, int, int]:
    """Draw the numbers of clips, of clips in a batch, and of processes."""
    return draw(st.integers(1, 40)), draw(st.integers(1, 12)), draw(st.integers(1, 5))


def deal(
    num_clips: int,
    batch_size: int,
    world_size: int,
    *,
    epoch: int = 0,
    first_step: int = 0,
    min_steps: int = 1,
) -> list[list[list[int]]]:
    """Return the clips that count, of each process in each step."""
    shares = []
    for rank in range(world_size):
        sampler = StepSampler(
            num_clips, batch_size, rank=rank, world_size=world_size, seed=3, min_steps=min_steps
        )
        sampler.start_at(epoch, first_step)
        dealt = list(sampler)
        assert len(dealt) == len(sampler) - first_step
        assert all(dealt)
        counted = [sampler.share_of(step) for step in range(first_step, len(sampler))]
        assert all(size in (0, len(clips)) for size, clips in zip(counted, dealt, strict=True))
        shares.append([clips[:size] for size, clips in zip(counted, dealt, strict=True)])
    return [list(step) for step in zip(*shares, strict=True)]


@given(settings())
def test_an_epoch_takes_every_clip_once_evenly_over_processes(drawn):
    num_clips, batch_size, _ = drawn
    steps = deal(*drawn)
    assert sorted(clip for step in steps for share in step for clip in share) == [*range(num_clips)]
    sizes = [StepSampler(num_clips, batch_size, seed=3).size_of(step) for step in range(len(steps))]
    assert [sum(map(len, step)) for step in steps] == sizes
    assert sizes[:-1] == [batch_size] * (len(steps) - 1)
    assert all(max(map(len, step)) - min(map(len, step)) <= 1 for step in steps)


@given(settings())
def test_a_step_has_the_same_clips_for_any_number_of_processes(drawn):
    num_clips, batch_size, _ = drawn
    alone = [set(share) for [share] in deal(num_clips, batch_size, 1)]
    assert [set().union(*step) for step in deal(*drawn)] == alone


@given(settings(), st.integers(0, 5), st.integers(1, 30), st.data())
def test_from_any_step_on_the_rest_of_the_epoch_is_the_same(drawn, epoch, min_steps, data):
    whole = deal(*drawn, epoch=epoch, min_steps=min_steps)
    step = data.draw(st.integers(0, len(whole)))
    rest = deal(*drawn, epoch=epoch, min_steps=min_steps, first_step=step)
    assert rest == whole[step:]


@given(settings(), st.integers(1, 60))
def test_an_epoch_of_few_clips_passes_over_them_until_it_has_its_steps(drawn, min_steps):
    num_clips, batch_size, _ = drawn
    steps = deal(*drawn, min_steps=min_steps)
    steps_per_pass = -(-num_clips // batch_size)
    assert min_steps <= len(steps) < min_steps + steps_per_pass
    places = [place for step in steps for share in step for place in share]
    num_passes = len(steps) // steps_per_pass
    assert sorted(places) == [*range(num_passes * num_clips)]  # each video once per pass
    assert all(place // num_clips == at // num_clips for at, place in enumerate(places))


def test_each_pass_has_an_order_of_its_own():
    sampler = StepSampler(20, 20, seed=0, min_steps=3)
    orders = [tuple(place % 20 for place in step) for step in sampler]
    assert len(set(orders)) == 3


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = set()
    for seed in range(3):
        for epoch in range(3):
            sampler = StepSampler(20, 20, seed=seed)
            sampler.start_at(epoch)
            orders.add(tuple(next(iter(sampler))))
    assert len(orders) == 9
