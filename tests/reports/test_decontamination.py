"""The section about decontamination shows what the proof says."""

from databourse.reports.decontamination import ComparedSet, FoundLeaks, decontamination_section


def test_sets_and_planted_leaks_are_shown_with_their_recall():
    section = decontamination_section(
        [ComparedSet("exam", 1_319, 12, 55)],
        [FoundLeaks("word_in_ten", 200, 199), FoundLeaks("half", 0, 0)],
        documents=7_473,
        dropped=56,
    )
    assert "56 of 7,473 documents" in section.paragraphs[0]
    assert section.tables[0].rows == (("exam", "1,319", "12", "55"),)
    assert section.tables[1].rows == (
        ("word in ten", "200", "199", "0.995"),
        ("half", "0", "0", "\u2013"),
    )


def test_a_proof_without_self_test_shows_sets_alone():
    section = decontamination_section([], [], documents=5, dropped=0)
    assert [table.caption for table in section.tables] == ["Protected sets"]
    assert len(section.paragraphs) == 1
