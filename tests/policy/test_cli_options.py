from tests.policy.cli_options import STORED, describe_cli

HOW = "If the change is wanted, run: python -m tests.policy.update_cli_options"


def test_commands_and_options_are_the_recorded_ones():
    recorded, found = STORED.read_text().splitlines(), describe_cli().splitlines()
    assert len(found) > 1
    assert [line for line in recorded if line not in found] == [], f"Gone. {HOW}"
    assert [line for line in found if line not in recorded] == [], f"New. {HOW}"
