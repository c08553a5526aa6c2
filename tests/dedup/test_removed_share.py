import pytest

from databourse.dedup.removed_share import check_removed_shares
from databourse.errors import DedupError, InputError


def test_a_source_that_loses_exactly_the_allowed_share_passes():
    check_removed_shares({"web": 5}, {"web": 10, "books": 3}, allowed_share=0.5)


def test_the_source_that_loses_most_is_named_with_its_largest_groups():
    with pytest.raises(DedupError) as caught:
        check_removed_shares(
            {"web": 6, "wiki": 9, "books": 0},
            {"web": 10, "wiki": 10, "books": 3},
            allowed_share=0.5,
            largest_groups={"wiki": [("d1", 1), ("d2", 4), ("d0", 1), ("d3", 3)]},
        )
    text = str(caught.value)
    assert text.startswith(
        "deduplication would remove 9 of 10 arrivals (90.0%) of source 'wiki'; allowed is 50.0% "
        "(also over it: web); largest groups by representative: d2 (4), d3 (3), d0 (1)."
    )
    assert "\n" not in text


@pytest.mark.parametrize(
    ("removed", "arrivals", "share"),
    [({"a": 1}, {}, 0.5), ({"a": 3}, {"a": 2}, 0.5), ({"a": -1}, {"a": 2}, 0.5), ({}, {}, 0.0)],
)
def test_impossible_counts_and_shares_are_refused(removed, arrivals, share):
    with pytest.raises(InputError):
        check_removed_shares(removed, arrivals, allowed_share=share)
