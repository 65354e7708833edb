import dataclasses

import numpy as np
import pytest
from scipy.special import expit

from stpa.errors import DataError
from stpa.evaluation.fusion import (
    FUSION_RULES,
    MULTI_LABEL_RULES,
    Fusion,
    average_logits,
    fuse,
    tsn_weighted,
)

RGB = np.array([[2.0, 0.0, -1.0], [0.0, 3.0, 1.0]], np.float32)
FLOW = np.array([[-1.0, 4.0, 0.0], [1.0, 1.0, 1.0]], np.float32)


def both(rgb: np.ndarray, flow: np.ndarray) -> dict[str, np.ndarray]:
    return {"rgb": rgb, "flow": flow}


ALL_RULES = pytest.mark.parametrize(
    "rule",
    # No set: each process that tests must find the same order.
    dict.fromkeys([*FUSION_RULES.values(), *MULTI_LABEL_RULES.values()]),
    ids=lambda rule: rule.__name__,
)


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64))
    return powers / powers.sum(axis=-1, keepdims=True)


def test_average_logits_is_the_plain_mean():
    np.testing.assert_allclose(FUSION_RULES["average_logits"](both(RGB, FLOW)), (RGB + FLOW) / 2)


def test_average_probabilities_gives_logits_of_the_mean_probability():
    fused = FUSION_RULES["average_probabilities"](both(RGB, FLOW))
    np.testing.assert_allclose(_softmax(fused), (_softmax(RGB) + _softmax(FLOW)) / 2, rtol=1e-5)


def test_average_probabilities_survives_huge_logits():
    assert np.isfinite(FUSION_RULES["average_probabilities"](both(1e4 * RGB, -1e4 * FLOW))).all()


def test_average_probabilities_of_many_labels_are_means_of_sigmoids():
    fused = MULTI_LABEL_RULES["average_probabilities"](both(RGB, FLOW))
    np.testing.assert_allclose(expit(fused), (expit(RGB) + expit(FLOW)) / 2, rtol=1e-5)


@pytest.mark.parametrize(("rgb", "flow"), [(1e4, -1e4), (1e4, 1e4), (-1e4, -1e4)])
def test_average_probabilities_of_many_labels_survive_huge_logits(rgb, flow):
    rule = MULTI_LABEL_RULES["average_probabilities"]
    assert np.isfinite(rule(both(np.full(2, rgb, np.float32), np.full(2, flow, np.float32)))).all()


def test_tsn_weighs_rgb_to_flow_as_one_to_one_and_a_half():
    fused = FUSION_RULES["tsn_weighted"](both(RGB, FLOW))
    np.testing.assert_allclose(fused, 0.4 * RGB + 0.6 * FLOW, rtol=1e-6)


@ALL_RULES
def test_every_rule_fuses_one_video_as_it_does_among_others(rule):
    np.testing.assert_array_equal(rule(both(RGB[0], FLOW[0])), rule(both(RGB, FLOW))[0])


@ALL_RULES
def test_every_rule_keeps_single_precision(rule):
    assert rule(both(RGB, FLOW)).dtype == np.float32


def test_fuse_joins_two_streams_at_every_k_that_both_have(make_scores):
    rgb = make_scores()
    flow = make_scores(stream="flow", model_key="cdef", logits={3: -rgb.logits[3]})
    fused = fuse([rgb, flow], Fusion("average_logits"))
    assert (fused.stream, fused.model_key) == ("fused", "0123456789ab+cdef")
    assert list(fused.logits) == [3]
    assert (fused.logits[3] == 0).all()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("head", "tsn"),
        ("data_version", "another"),
        ("class_names", ("dive", "climb", "swim")),
        ("multi_label", True),
        ("video_ids", ("a", "b", "c", "d", "e", "f")),
    ],
)
def test_fuse_refuses_scores_that_are_not_of_the_same(make_scores, field, value):
    flow = dataclasses.replace(make_scores(stream="flow"), **{field: value})
    with pytest.raises(DataError, match=f"rgb and flow scores differ in their {field}"):
        fuse([make_scores(), flow], Fusion("average_logits"))


def test_fuse_takes_the_rule_for_the_number_of_labels(make_scores):
    one, many = (
        fuse(
            [make_scores(multi_label=each), make_scores(stream="flow", multi_label=each)],
            Fusion("average_probabilities"),
        )
        for each in (False, True)
    )
    np.testing.assert_allclose(
        _softmax(one.logits[3]), _softmax(make_scores().logits[3]), rtol=1e-5
    )
    np.testing.assert_allclose(many.logits[3], make_scores().logits[3], rtol=1e-5)
    assert many.multi_label
    assert not one.multi_label


def test_fuse_refuses_streams_that_share_no_k(make_scores):
    rgb = make_scores()
    flow = make_scores(stream="flow", logits={25: rgb.logits[3]})
    with pytest.raises(DataError, match=r"no K .* \(rgb has \[1, 3\], flow has \[25\]\)"):
        fuse([rgb, flow], Fusion("average_logits"))


@ALL_RULES
def test_every_rule_fuses_any_number_of_streams(rule):
    np.testing.assert_allclose(_softmax(rule({"rgb": RGB})), _softmax(RGB), rtol=1e-5)
    three = rule({"rgb": RGB, "flow": FLOW, "rgb_difference": FLOW})
    assert three.shape == RGB.shape


def test_the_mean_of_three_streams_is_that_of_all():
    third = RGB[::-1]
    logits = {"rgb": RGB, "flow": FLOW, "rgb_difference": third}
    np.testing.assert_allclose(average_logits(logits), (RGB + FLOW + third) / 3, rtol=1e-6)
    np.testing.assert_allclose(
        tsn_weighted(logits), (RGB + 1.5 * FLOW + third) / 3.5, rtol=1e-6, atol=1e-7
    )
