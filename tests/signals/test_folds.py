import numpy as np

from databourse.signals.folds import document_folds


def test_a_fold_depends_on_the_document_alone():
    ids = [f"{i:032x}" for i in range(50)]
    folds = document_folds(ids, 4)
    assert [int(document_folds([each], 4)[0]) for each in ids] == folds.tolist()


def test_folds_are_about_equally_large():
    sizes = np.bincount(document_folds([str(i) for i in range(20_000)], 5), minlength=5)
    # binomial(20000, 1/5): sd 57; six of them
    assert np.abs(sizes - 4000).max() < 6 * 57


def test_folds_stay_what_they_were():
    # a change would change every cross-fitted signal without a new revision
    assert document_folds(["a", "b", "c", "d", "e", "f"], 4).tolist() == [0, 3, 2, 2, 3, 1]
