"""What SwiftPie does, as functions: inputs to conditions, one denoising loop, image."""
