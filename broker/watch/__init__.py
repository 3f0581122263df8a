"""Read the record afterwards and compare it with what should have happened."""
