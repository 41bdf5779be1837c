from collections import Counter

from swiftpie.evaluation.edits.case import DEAL_SIZE, TYPES, EditKind, deal

# PIE-Bench's own numbers of pictures, type 0 to 9.
SHARES = [140, 80, 80, 80, 40, 40, 40, 40, 80, 80]


def test_seven_hundred_cases_have_the_shares_of_pie_bench():
    counts = Counter(deal(number, seed=0).type_id for number in range(700))
    assert [counts[number] for number in sorted(TYPES)] == SHARES


def test_every_deal_holds_every_kind_in_both_variants():
    slots = [deal(number, seed=5) for number in range(DEAL_SIZE)]
    assert {(slot.kind, slot.variant) for slot in slots} == {
        (kind, variant) for kind in EditKind for variant in (0, 1)
    }


def test_another_seed_deals_another_order():
    first, second = ([deal(n, seed=seed) for n in range(DEAL_SIZE)] for seed in (0, 1))
    assert first != second
