"""Finding and downloading weights: repositories, licences, disk space."""
