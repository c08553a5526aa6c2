import pytest

from databourse.decontamination.removed_share import DecontaminationError, check_removed_shares
from databourse.errors import InputError


def check(removed, documents, share=0.5, sets=(), frequent=()):
    check_removed_shares(
        removed, documents, allowed_share=share, sets=dict(sets), frequent=list(frequent)
    )


def test_exactly_the_allowed_share_passes():
    check({"a": 5}, {"a": 10, "b": 1})


def test_the_source_that_loses_most_is_named_with_sets_and_shared_words():
    with pytest.raises(DecontaminationError) as caught:
        check(
            {"a": 6, "b": 9},
            {"a": 10, "b": 10},
            sets={"one": 2, "two": 15, "none": 0},
            frequent=[("below is an instruction", 15)],
        )
    message = str(caught.value)
    assert "remove 9 of 10 documents (90.0%) of source 'b'; allowed is 50.0%" in message
    assert "for the sets two (15), one (2); shared words: 'below is an instruction' (15)" in message
    assert "decontaminate.template_examples" in message
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("removed", "share"), [({"a": 11}, 0.5), ({"b": 1}, 0.5), ({}, 0.0), ({}, 1.1)]
)
def test_impossible_counts_and_shares_are_refused(removed, share):
    with pytest.raises(InputError):
        check(removed, {"a": 10}, share)
