"""Commands that draw pictures, and those about their subjects."""
