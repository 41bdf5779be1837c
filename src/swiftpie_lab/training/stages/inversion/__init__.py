"""Networks that find the noise of a picture, and the prompts that edits are learned from."""
