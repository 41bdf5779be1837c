"""Networks exported to OpenVINO, which computes on Intel and AMD processors."""
