"""Words of topics."""

from databourse.topics.keywords import topic_keywords


def test_words_of_one_topic_outweigh_words_of_all():
    texts = {
        "sea": ["The ship and the harbour", "ship harbour paper"],
        "press": ["paper and ink", "ink paper paper"],
    }
    # A = (5 + 5) / 2 = 5. ship, harbour: 2 ln(1 + 5/2) = 2.506; paper: 1 ln(1 + 5/4) = 0.811;
    # ink: 2 ln(1 + 5/2) = 2.506; paper in press: 3 ln(1 + 5/4) = 2.433
    assert topic_keywords(texts) == {
        "press": ("ink", "paper"),
        "sea": ("harbour", "ship", "paper"),
    }


def test_equal_words_are_in_alphabetical_order_and_limited():
    assert topic_keywords({"a": ["zebra yak wolf"]}, count=2) == {"a": ("wolf", "yak")}


def test_a_topic_without_words_has_none():
    assert topic_keywords({"a": ["1 2 3", "?!"], "b": ["a of"]}) == {"a": (), "b": ()}
    assert topic_keywords({"a": ["12"], "b": ["word"]}) == {"a": (), "b": ("word",)}


def test_the_order_of_texts_and_topics_does_not_matter():
    one = {"a": ["red fish", "blue fish"], "b": ["blue sky"]}
    other = {"b": ["blue sky"], "a": ["blue fish", "red fish"]}
    assert topic_keywords(one) == topic_keywords(other)
