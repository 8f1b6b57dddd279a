import sys

import numpy as np
import pytest

from benchmarks import rtrl_contenders, rtrl_memory
from benchmarks.errors import CannotRun, ConfigError
from benchmarks.rtrl_cases import RTRL_CASES, RTRLCase, chosen_cases
from benchmarks.rtrl_contenders import ROWS, check_alike, dense_rtrl
from benchmarks.rtrl_costs import costs
from benchmarks.rtrl_imposed import Imposed
from keras_egru.ops import fused_egru, influence_sequence

tf = pytest.importorskip("tensorflow")
needs_op = pytest.mark.skipif(
    fused_egru.why_not() is not None, reason=f"the custom op cannot run: {fused_egru.why_not()}"
)
NETWORKS = ("thresholded", "egru")
EXACT = {
    "ours_dense": {"pruned": False, "silent": False},
    "ours_parameter": {"pruned": True, "silent": False},
    "ours_activity": {"pruned": False, "silent": True},
    "ours": {"pruned": True, "silent": True},
}


def tiny(network, **changes):
    return RTRLCase("tiny", network, units=20, parameter=0.7, backward=0.4, features=3, steps=4)._replace(**changes)


@pytest.fixture(params=NETWORKS)
def imposed(request):
    return Imposed(tiny(request.param))


def test_the_shares_asked_for_are_there_exactly(imposed):
    pruned, whole = (imposed.problem(pruned=pruned, silent=True) for pruned in (True, False))
    kernel = pruned.terms.kernel.reshape(20, imposed.case.gates, 20)
    assert all(np.mean(kernel[:, gate] == 0) == pytest.approx(0.7) for gate in range(imposed.case.gates))
    weights = imposed.case.gates * 20 * (20 + 3)
    assert imposed.parameter_sparsity == pytest.approx(0.7)
    # Biases and thresholds are whole.
    assert whole.layout.columns == whole.layout.parameters
    assert pruned.layout.columns == whole.layout.parameters - round(0.7 * weights)
    assert np.count_nonzero(whole.terms.kernel) == whole.terms.kernel.size
    zeros = pruned.terms.passes[0] == 0
    assert np.all(zeros.mean(axis=1) == 0.4)
    assert imposed.backward_sparsity == pytest.approx(0.4)
    assert np.count_nonzero(imposed.problem(pruned=True, silent=False).terms.passes == 0) == 0


def test_zeros_are_drawn_anew_at_every_step_and_a_chunk_goes_on_from_itself(imposed):
    passes = imposed.problem(pruned=True, silent=True).terms.passes[0]
    np.testing.assert_array_equal(passes[0], passes[-1])
    patterns = {tuple(row == 0) for row in passes[1:]}
    assert len(patterns) == imposed.case.steps


def test_problems_differ_in_what_is_zero_alone(imposed):
    sparse, dense = (imposed.problem(pruned=some, silent=some) for some in (True, False))
    for name, term in sparse.terms._asdict().items():
        other = getattr(dense.terms, name)
        if term is None:
            assert other is None
            continue
        live = term != 0 if name in ("kernel", "passes") else np.ones(term.shape, bool)
        np.testing.assert_array_equal(term[live], other[live])
    np.testing.assert_array_equal(sparse.credit, dense.credit)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_same_seed_draws_the_same(network):
    first, again, other = (Imposed(tiny(network), seed).problem(pruned=True, silent=True) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.terms.passes, again.terms.passes)
    assert np.any(first.terms.kernel != other.terms.kernel)


def _reference(problem, chunks):
    influence = None
    for _ in range(chunks):
        found = influence_sequence(influence, problem.terms, problem.credit, problem.layout, implementation="reference")
        influence = found.influence
    return np.asarray(influence), np.asarray(found.gradient)


def _assert_close(found, wanted):
    assert np.any(wanted != 0)
    # float32 sums of some tens of terms
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


@needs_op
@pytest.mark.parametrize("name", EXACT)
def test_ours_plain_tensorflow_and_the_reference_are_equal_in_every_form(imposed, name):
    problem = imposed.problem(**EXACT[name])
    expected, gradient = _reference(problem, 3)
    passes, trained = problem.terms.passes[:, -1], problem.layout.trained
    found, dense = ROWS[name](imposed), dense_rtrl(problem)
    for contender in (found, dense):
        contender.chunk()
        contender.chunk()
        _assert_close(np.asarray(contender.chunk())[trained], gradient[trained])
    expected = passes[0][:, None] * expected[0][:, trained]
    _assert_close(passes[0][:, None] * problem.layout.dense(found.influence, passes)[0][:, trained], expected)
    _assert_close(passes[0][:, None] * np.asarray(dense.influence)[:, trained], expected)


@needs_op
@pytest.mark.parametrize("name", ["ours", "tensorflow", "snap2"])
def test_steps_one_by_one_come_to_the_same_influence(imposed, name):
    together, apart = ROWS[name](imposed), ROWS[name](imposed)
    for _ in range(2):
        together.chunk()
        apart.single()
    np.testing.assert_allclose(apart.influence, together.influence, rtol=1e-4, atol=1e-6)


@needs_op
def test_the_influence_stays_bounded(imposed):
    contender = ROWS["ours_dense"](imposed)
    sizes = []
    for _ in range(30):
        contender.chunk()
        sizes.append(float(np.max(np.abs(contender.influence))))
    assert 0.1 < sizes[-1] < 100.0
    assert sizes[-1] == pytest.approx(sizes[-2], rel=1e-3)


@needs_op
def test_contenders_that_differ_are_not_timed(imposed):
    found, dense = ROWS["ours"](imposed), ROWS["tensorflow"](imposed)
    check_alike(imposed, found, dense)
    other = imposed.problem(pruned=True, silent=False)
    with pytest.raises(CannotRun, match="the gradients of ours and of plain TensorFlow differ"):
        check_alike(imposed, found, dense_rtrl(other))

    class Wrong(rtrl_contenders.Online):
        def chunk(self):
            last = self.influence is not None
            gradient = super().chunk()
            self.influence = 1.01 * self.influence if last else self.influence
            return gradient

    wrong = ROWS["tensorflow"](imposed)
    wrong.__class__ = Wrong
    with pytest.raises(CannotRun, match="the influences of .* differ by 9.9e-03 of the largest entry"):
        check_alike(imposed, found, wrong)


@needs_op
@pytest.mark.parametrize("network", NETWORKS)
def test_back_propagation_gives_a_gradient_of_every_weight(network):
    case = tiny(network)
    contender = ROWS["bptt"](Imposed(case))
    gradients = [np.asarray(gradient) for gradient in contender.chunk()]
    assert [g.shape for g in gradients][:2] == [(3, 20 * case.gates), (20, 20 * case.gates)]
    assert all(np.any(gradient != 0) for gradient in gradients)
    assert contender.single is contender.influence_bytes is contender.multiply_adds is None


@needs_op
def test_sparsity_saves_multiply_adds_and_memory(imposed):
    built = {name: ROWS[name](imposed) for name in ROWS if name != "bptt"}
    for contender in built.values():
        contender.chunk()
        contender.chunk()
    adds = {name: int(contender.multiply_adds) for name, contender in built.items()}
    assert adds["ours"] < min(adds["ours_parameter"], adds["ours_activity"])
    assert max(adds["ours_parameter"], adds["ours_activity"]) < adds["ours_dense"]
    assert adds["snap1"] < adds["snap2"] < adds["ours_parameter"]
    p = imposed.problem(pruned=False, silent=False).layout.parameters
    assert adds["tensorflow"] == 4 * (20 * 20 * p + 20 * p + p)
    # With a leak ours takes one product more for each entry: 1 of 20.
    assert 0.9 < adds["ours_dense"] / adds["tensorflow"] < 1.06
    assert built["tensorflow"].influence_bytes == 4 * 20 * p
    assert built["ours"].influence_bytes < built["tensorflow"].influence_bytes


def test_the_analytic_costs_are_those_of_the_table():
    found = costs("thresholded", 10, 1000, live=0.2, passing=0.5)
    dense = 10**2 * 1000
    assert found["bptt"] == (100 + 1000, None)
    assert found["ours_dense"] == found["tensorflow"] == (dense, 10 * 1000)
    assert found["ours_parameter"] == pytest.approx((0.04 * dense, 2000))
    assert found["ours_activity"] == pytest.approx((0.25 * dense, 5000))
    # "80% ... 0.2^2 0.5^2 = 0.01, which translates to 1%" (Subramoney 2023, section 1)
    assert found["ours"] == pytest.approx((0.01 * dense, 1000))
    assert found["snap1"] == pytest.approx((200, 200))
    assert found["snap2"] == pytest.approx((0.008 * dense, 0.04 * 10_000))


def test_a_leak_keeps_rows():
    found = costs("egru", 10, 1000, live=0.2, passing=0.5)
    assert found["ours"] == pytest.approx((0.04 * 0.5 * 100_000 + 0.2 * 10_000, 2000))
    assert found["ours_activity"] == pytest.approx((0.5 * 100_000 + 10_000, 10_000))
    assert found.keys() == ROWS.keys()


def test_cases_take_the_sizes_and_shares_that_are_given():
    assert [case.asked() for case in chosen_cases(["rtrl-egru"])] == [{"units": 128, "parameter": 0.8, "backward": 0.5}]
    found = chosen_cases(RTRL_CASES, 16, [0.5, 0.9], 0.25)
    assert [(case.name, case.parameter) for case in found] == [
        (name, share) for name in ("rtrl-thresholded", "rtrl-egru") for share in (0.5, 0.9)
    ]
    assert all((case.units, case.backward) == (16, 0.25) for case in found)
    with pytest.raises(ConfigError, match=r"--backward-sparsity of online learning wants a number in \[0, 1\)"):
        chosen_cases(["rtrl-egru"], backward=1.0)


@needs_op
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_the_peak_memory_of_a_contender_is_measured_in_a_process_of_its_own():
    case = tiny("egru", units=100)
    found = rtrl_memory.measure(["tensorflow"], case)["tensorflow"]
    influence = 4 * 100 * (3 * 100 * (100 + 3 + 2) + 100) / 2**20
    # The one before a step and the one after it at the least.
    assert 1.9 * influence < found < 6 * influence
