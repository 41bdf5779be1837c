"""Parts of the training loop; none of them knows what a stage is."""
