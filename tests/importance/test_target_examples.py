import numpy as np
import pytest

from databourse.errors import InputError
from databourse.importance.target_examples import embeddings_of, texts_of
from databourse.targets import TargetSet


def target(name, texts, embeddings=None):
    return TargetSet(
        name=name,
        texts=texts,
        labels=np.array([None] * len(texts), dtype=object),
        prompt_characters=np.zeros(len(texts), dtype=np.int64),
        embeddings=None if embeddings is None else np.array(embeddings, dtype=np.float32),
    )


def test_examples_of_all_targets_come_one_after_the_other():
    both = [target("one", ["a", "b"], [[1, 0], [0, 1]]), target("two", ["c"], [[0.6, 0.8]])]
    assert texts_of(both) == ["a", "b", "c"]
    expected = np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)
    np.testing.assert_array_equal(embeddings_of(both, 2), expected)


def test_no_target_is_refused():
    with pytest.raises(InputError, match="at least one target is needed, got none"):
        texts_of([])
    with pytest.raises(InputError, match="at least one target is needed"):
        embeddings_of([], 2)


def test_a_target_without_embeddings_or_of_another_encoder_is_refused():
    with pytest.raises(InputError, match="target 'two' has no embeddings"):
        embeddings_of([target("one", ["a"], [[1, 0]]), target("two", ["b"])], 2)
    with pytest.raises(InputError, match=r"target 'one' must be of 3 numbers .*got shape \(1, 2\)"):
        embeddings_of([target("one", ["a"], [[1, 0]])], 3)
