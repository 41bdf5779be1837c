"""How identity enters a U-Net: two attention processors and the one value they read."""
