"""LESS against a real Adam step, hand-made cosines, and a loop."""

import numpy as np
import pytest

from databourse.errors import InputError
from databourse.influence import less
from databourse.influence.less import AdamState, LessCheckpoint, less_values
from databourse.influence.trak import RowBlock


def adam_state(first, second, **changes):
    settings = {"n_steps": 4, "first_decay": 0.9, "second_decay": 0.999, "epsilon": 1e-8}
    return AdamState(
        first=np.asarray(first, dtype=float),
        second=np.asarray(second, dtype=float),
        **{**settings, **changes},
    )


def in_blocks(features, size=5, order=None):
    order = np.arange(len(features)) if order is None else order
    return [
        RowBlock(rows, features[rows]) for rows in np.split(order, range(size, len(order), size))
    ]


def values_of(features, targets, tasks, size=5, order=None):
    """Return LESS values of checkpoints given as lists of features and targets; rates 1, 2, .."""
    checkpoints = [
        LessCheckpoint(
            blocks=in_blocks(rows, size, order), target_features=columns, learning_rate=number + 1.0
        )
        for number, (rows, columns) in enumerate(zip(features, targets, strict=True))
    ]
    return less_values(checkpoints, n_documents=len(features[0]), target_tasks=np.asarray(tasks))


def random_case(seed=0, n=23, k=6, n_checkpoints=3):
    rng = np.random.default_rng(seed)
    tasks = np.array([0, 1, 0, 2, 2, 2, 2])  # of 2, 1 and 4 examples
    features = [rng.normal(size=(n, k)) for _ in range(n_checkpoints)]
    return features, [rng.normal(size=(len(tasks), k)) for _ in range(n_checkpoints)], tasks


def test_hand_made_moments_give_hand_computed_steps():
    # b1 = b2 = 1/2, one step taken: m' = (1 + 3) / 2 = 2, v' = (7 + 9) / 2 = 8, corrections 3/4
    state = adam_state([1.0], [7.0], n_steps=1, first_decay=0.5, second_decay=0.5, epsilon=1.0)
    gradients = np.array([[3.0]])

    step = less.adam_steps(gradients, state)
    released = less.released_adam_steps(gradients, state)
    alone = less.adam_steps(gradients, state, include_momentum=False)
    released_alone = less.released_adam_steps(gradients, state, include_momentum=False)

    assert step[0, 0] == pytest.approx((2 / 0.75) / (np.sqrt(8 / 0.75) + 1), rel=1e-14)
    assert released[0, 0] == pytest.approx(2 / 3, rel=1e-14)  # the root of 8 + 1
    assert alone[0, 0] == pytest.approx((1.5 / 0.75) / (np.sqrt(8 / 0.75) + 1), rel=1e-14)
    assert released_alone[0, 0] == pytest.approx(1.5 / 3, rel=1e-14)


@pytest.mark.parametrize("n_steps", [0, 1, 7])
def test_the_step_is_the_change_a_real_adam_makes(n_steps):
    import torch

    torch.manual_seed(0)
    parameter = torch.nn.Parameter(torch.randn(40, dtype=torch.float64))
    optimizer = torch.optim.Adam([parameter], lr=3e-3, betas=(0.8, 0.97), eps=1e-4)
    for _ in range(n_steps):
        parameter.grad = torch.randn(40, dtype=torch.float64)
        optimizer.step()
    saved = optimizer.state[parameter]
    state = AdamState(
        first=saved["exp_avg"].numpy().copy() if n_steps else np.zeros(40),
        second=saved["exp_avg_sq"].numpy().copy() if n_steps else np.zeros(40),
        n_steps=int(saved["step"]) if n_steps else 0,
        first_decay=0.8,
        second_decay=0.97,
        epsilon=1e-4,
    )
    gradient = 0.1 * torch.randn(40, dtype=torch.float64)
    before = parameter.detach().clone()
    parameter.grad = gradient
    optimizer.step()
    change = (parameter.detach() - before).numpy()

    (step,) = less.adam_steps(gradient.numpy()[None], state)

    np.testing.assert_allclose(step, change / -3e-3, rtol=1e-6, atol=1e-10)
    (released,) = less.released_adam_steps(gradient.numpy()[None], state)
    assert np.abs(released - change / -3e-3).max() > 1e-3


def test_steps_of_documents_do_not_depend_on_each_other():
    rng = np.random.default_rng(1)
    gradients = rng.normal(size=(6, 9)).astype(np.float32)
    state = adam_state(rng.normal(size=9), rng.random(9))
    first, second = state.first.copy(), state.second.copy()

    together = less.adam_steps(gradients, state)

    for row, gradient in enumerate(gradients):
        np.testing.assert_array_equal(less.adam_steps(gradient[None], state)[0], together[row])
    np.testing.assert_array_equal(state.first, first)  # the saved state stays as it was
    np.testing.assert_array_equal(state.second, second)


def test_momentum_pulls_all_documents_together():
    rng = np.random.default_rng(2)
    gradients = rng.normal(size=(20, 50))
    state = adam_state(2 * rng.normal(size=50), np.ones(50))

    def mean_cosine(steps):
        units = steps / np.linalg.norm(steps, axis=1, keepdims=True)
        return ((units @ units.T).sum() - 20) / (20 * 19)

    assert mean_cosine(less.adam_steps(gradients, state)) > 0.9
    alone = less.adam_steps(gradients, state, include_momentum=False)
    assert abs(mean_cosine(alone)) < 0.1


def test_clipping_cuts_coordinates_and_says_how_much_it_cut():
    clipped = less.clipped_steps(
        np.array([[3.0, -4.0, 0.5], [0.1, 0.2, 0.2], [0, 0, 0]]), limit=1.0
    )

    np.testing.assert_array_equal(clipped.steps, [[1, -1, 0.5], [0.1, 0.2, 0.2], [0, 0, 0]])
    assert clipped.clipped_coordinates.tolist() == [2, 0, 0]
    np.testing.assert_allclose(
        clipped.kept_norm_share, [np.sqrt(2.25 / 25.25), 1.0, 1.0], rtol=1e-14
    )
    with pytest.raises(InputError, match="clip limit must be > 0, got nan"):
        less.clipped_steps(np.ones((1, 2)), limit=float("nan"))


def test_rarely_active_coordinates_reach_the_stated_bound():
    # v was never fed, so that (1 - b1) g / sqrt((1 - b2) g^2) = 0.1 / sqrt(0.001)
    state = adam_state([0.0, 0.0], [0.0, 1.0], n_steps=10**6)

    step = less.adam_steps(np.array([[5.0, 5.0]]), state)[0]

    assert step[0] == pytest.approx(0.1 / np.sqrt(0.001), rel=1e-6)
    assert step[1] == pytest.approx(0.5, rel=0.02)


def test_the_share_of_the_largest_coordinates_is_counted_by_hand():
    steps = np.zeros((3, 2_000))
    steps[0, 7], steps[0, 1_500], steps[0, 3] = 3.0, -4.0, 5.0  # squares 9, 16, 25: top two of 50
    steps[1] = 1.0

    shares = less.top_coordinate_share(steps)

    np.testing.assert_allclose(shares, [41 / 50, 0.001, 0.0], rtol=1e-12)
    assert less.top_coordinate_share(steps[:, :10], coordinate_share=1.0)[0] == pytest.approx(1.0)
    # of 10 coordinates a thousandth is rounded up to one
    assert less.top_coordinate_share(steps[:, :10])[0] == pytest.approx(25 / 34)
    with pytest.raises(InputError, match="coordinate_share must be in"):
        less.top_coordinate_share(steps, coordinate_share=0.0)


def test_hand_made_cosines_are_averaged_within_and_maximised_over_sub_tasks():
    # cosines of (1, 0) with targets: 1, 0 | -0.6; of (0, 2): 0, 1 | 0.8; of (-3, 0): -1, 0 | 0.6
    features = [np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])]
    targets = [np.array([[10.0, 0.0], [0.0, 0.1], [-0.3, 0.4]])]

    result = values_of(features, targets, [0, 0, 1])

    np.testing.assert_allclose(
        result.by_task, [[0.5, -0.6], [0.5, 0.8], [-0.5, 0.6]], rtol=1e-14, atol=1e-15
    )
    np.testing.assert_allclose(result.values, [0.5, 0.8, 0.6], rtol=1e-14)
    assert result.best_task.tolist() == [0, 1, 1]
    assert result.n_without_step == 0


def test_checkpoints_count_by_their_learning_rates():
    # rates 1 and 2: cosines 1 and -0.5 give (1 - 1) / 3
    features = [np.array([[2.0, 0.0]]), np.array([[-1.0, np.sqrt(3)]])]
    targets = [np.array([[1.0, 0.0]]), np.array([[5.0, 0.0]])]

    result = values_of(features, targets, [0])

    np.testing.assert_allclose(result.values, [0.0], atol=1e-15)
    np.testing.assert_allclose(result.checkpoint_weights, [1 / 3, 2 / 3])


def test_the_cosine_is_not_that_with_the_mean_target():
    # a huge target example must not drown the small one of its sub-task
    features = [np.array([[0.0, 1.0]])]
    targets = [np.array([[1e6, 0.0], [0.0, 1e-6]])]

    assert values_of(features, targets, [0, 0]).values[0] == pytest.approx(0.5)


def test_it_equals_a_loop_over_pairs():
    features, targets, tasks = random_case()

    result = values_of(features, targets, tasks)

    expected = np.zeros((23, 3))
    for rate, rows, columns in zip((1, 2, 3), features, targets, strict=True):
        for i in range(23):
            for task in range(3):
                cosines = [
                    rows[i] @ x / np.linalg.norm(rows[i]) / np.linalg.norm(x)
                    for x in columns[tasks == task]
                ]
                expected[i, task] += rate / 6 * np.mean(cosines)
    np.testing.assert_allclose(result.by_task, expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(result.values, expected.max(axis=1), rtol=1e-12)
    assert result.best_task.tolist() == expected.argmax(axis=1).tolist()


def test_repeating_the_examples_of_a_sub_task_changes_nothing():
    features, targets, tasks = random_case()
    # sub-task 1 has a single example; three copies of it are the same sub-task
    repeated = [np.concatenate([columns, columns[[1, 1]]]) for columns in targets]

    np.testing.assert_allclose(
        values_of(features, repeated, np.append(tasks, [1, 1])).values,
        values_of(features, targets, tasks).values,
        rtol=1e-12,
    )


def test_lengths_of_gradients_are_of_no_matter():
    features, targets, tasks = random_case()
    rng = np.random.default_rng(3)
    stretched = [rows * rng.uniform(1e-3, 1e3, (len(rows), 1)) for rows in features]

    np.testing.assert_allclose(
        values_of(stretched, targets, tasks).values,
        values_of(features, targets, tasks).values,
        rtol=1e-10,
    )


def test_extreme_gradients_neither_overflow_nor_vanish():
    features = [np.array([[3e200, 4e200], [3e-200, 4e-200]])]

    result = values_of(features, [np.array([[0.0, 1e-300]])], [0])

    np.testing.assert_allclose(result.values, [0.8, 0.8], rtol=1e-14)


@pytest.mark.parametrize("size", [1, 7, 600])
def test_another_batching_of_the_pool_gives_the_same_bits(size):
    features, targets, tasks = random_case(n=1_100)

    expected = values_of(features, targets, tasks, size=1_100)

    np.testing.assert_array_equal(
        values_of(features, targets, tasks, size=size).values, expected.values
    )


def test_a_selection_does_not_depend_on_the_order_of_the_pool():
    features, targets, tasks = random_case(n=700)
    order = np.random.default_rng(5).permutation(700)

    values = values_of(features, targets, tasks).values
    reordered = values_of(features, targets, tasks, size=64, order=order).values

    np.testing.assert_allclose(reordered, values, atol=1e-12)
    assert np.argsort(-reordered)[:35].tolist() == np.argsort(-values)[:35].tolist()


def test_a_target_turned_round_turns_the_value():
    features, targets, _ = random_case()
    one_task = np.zeros(7, dtype=int)

    np.testing.assert_allclose(
        values_of(features, [-columns for columns in targets], one_task).values,
        -values_of(features, targets, one_task).values,
        atol=1e-15,
    )


def test_a_step_along_a_document_of_positive_value_lowers_the_loss_of_the_target():
    rng = np.random.default_rng(8)
    centre = rng.normal(size=5)  # target loss |w - centre|^2 / 2 at w = 0: gradient -centre
    gradients = rng.normal(size=(30, 5))
    state = adam_state(0.1 * rng.normal(size=5), rng.random(5))
    steps = less.adam_steps(gradients, state)

    values = values_of([steps], [-centre[None]], [0]).values

    losses_after = ((-1e-4 * steps - centre) ** 2).sum(axis=1) / 2
    np.testing.assert_array_equal(losses_after < centre @ centre / 2, values > 0)
    assert 0 < (values > 0).sum() < 30


def test_a_document_without_a_step_is_worth_nothing_and_is_counted():
    features, targets, tasks = random_case()
    for rows in features:
        rows[4] = 0
    features[0][9] = 0

    result = values_of(features, targets, tasks)

    assert result.values[4] == 0.0
    assert result.n_without_step == 2


def test_a_projection_keeps_the_ranking_up_to_its_noise():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(9)
    features, targets = rng.normal(size=(80, 400)), rng.normal(size=(4, 400))
    features += np.linspace(0, 1, 80)[:, None] * targets.sum(axis=0)
    projection = rng.normal(size=(400, 256)) / 16

    exact = values_of([features], [targets], [0] * 4).values
    projected = values_of([features @ projection], [targets @ projection], [0] * 4).values

    # noise of a cosine is 1 / sqrt(256) = 0.06 against values spread by about 0.2
    assert np.std(exact) > 0.1
    assert spearmanr(exact, projected).statistic > 0.85


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"first": [0.0]}, "two vectors of one length"),
        ({"first": [], "second": []}, "two vectors of one length"),
        ({"first": [0.0, np.nan]}, "moments must be finite"),
        ({"second": [1.0, -1.0]}, "second moments must be >= 0, got -1.0"),
        ({"first_decay": 1.0}, "decays must be in"),
        ({"epsilon": 0.0}, "epsilon must be > 0"),
        ({"n_steps": -1}, "n_steps >= 0"),
    ],
)
def test_a_state_that_adam_cannot_have_is_refused(change, said):
    with pytest.raises(InputError, match=said):
        adam_state(**{"first": [0.0, 0.0], "second": [1.0, 1.0], **change})


def test_gradients_of_other_parameters_are_refused():
    with pytest.raises(InputError, match="shape \\(rows, 2\\), got \\(1, 3\\)"):
        less.adam_steps(np.ones((1, 3)), adam_state([0, 0], [1, 1]))
    with pytest.raises(InputError, match="must be finite, row 0 is not"):
        less.released_adam_steps(np.full((1, 2), np.inf), adam_state([0, 0], [1, 1]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target_tasks": np.array([0, 2, 2])}, "without a gap, got \\[0, 2\\]"),
        ({"target_tasks": np.array([1, 1, 1])}, "without a gap"),
        ({"target_tasks": np.array([0.0, 1.0, 1.0])}, "one integer per target example"),
        ({"target_tasks": np.array([0, 0])}, "expected features of 2 target examples, got 3"),
        ({"target_features": np.zeros((3, 2))}, "target example 0 has a zero gradient"),
        ({"target_features": np.ones((3, 5))}, "shape \\(rows, 5\\), got \\(4, 2\\)"),
        ({"learning_rate": 0.0}, "learning rates > 0, got rates \\[0.0\\]"),
        ({"blocks": in_blocks(np.ones((3, 2)))}, "1 are missing, the first at 3"),
        (
            {"blocks": [RowBlock(np.arange(4), np.ones((4, 2)), np.ones(4))]},
            "LESS has no output weights",
        ),
    ],
)
def test_malformed_checkpoints_are_refused(change, said):
    fields = {
        "blocks": in_blocks(np.ones((4, 2))),
        "target_features": np.ones((3, 2)),
        "learning_rate": 1.0,
        "target_tasks": np.array([0, 1, 1]),
        **change,
    }
    tasks = fields.pop("target_tasks")
    with pytest.raises(InputError, match=said):
        less_values([LessCheckpoint(**fields)], n_documents=4, target_tasks=tasks)


def test_no_checkpoint_is_refused():
    with pytest.raises(InputError, match="there must be checkpoints"):
        less_values([], n_documents=4, target_tasks=np.array([0]))
