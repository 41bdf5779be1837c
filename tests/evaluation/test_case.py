import dataclasses

from swiftpie.evaluation.case import CaseKind


def test_the_kind_follows_from_what_is_asked_for(case):
    assert case.kind is CaseKind.PLAIN
    assert dataclasses.replace(case, attribute="tiny").kind is CaseKind.ATTRIBUTED
    assert dataclasses.replace(case, other_code="1f439").kind is CaseKind.PAIR


def test_codes_go_from_left_to_right(case):
    assert case.codes == ("1f980",)
    assert dataclasses.replace(case, other_code="1f439").codes == ("1f980", "1f439")
