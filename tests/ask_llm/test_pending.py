import pytest

from databourse.ask_llm.pending import pending_documents
from databourse.errors import InputError


def test_documents_without_a_score_come_in_their_order():
    pool = [("c", "3"), ("a", "1"), ("b", "2")]
    assert list(pending_documents(pool, {"a", "z"})) == [("c", "3"), ("b", "2")]


@pytest.mark.parametrize("scored", [set(), {"a"}])
def test_an_id_that_comes_twice_is_refused_scored_or_not(scored):
    pending = pending_documents([("b", "2"), ("a", "1"), ("a", "1")], scored)
    assert next(pending) == ("b", "2")
    with pytest.raises(InputError, match="'a' comes twice"):
        list(pending)
