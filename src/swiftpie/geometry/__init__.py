"""Where subjects are, their relief, and the light on them."""
