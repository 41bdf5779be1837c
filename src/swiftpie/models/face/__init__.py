"""Networks that turn faces into identities."""
