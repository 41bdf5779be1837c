"""Records today's command line as the promised one: python -m tests.policy.update_cli_options."""

from tests.policy.cli_options import STORED, describe_cli

if __name__ == "__main__":
    STORED.write_text(describe_cli())
