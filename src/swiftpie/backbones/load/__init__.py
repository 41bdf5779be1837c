"""Reading weights, checkpoints and adapters of other projects into networks."""
