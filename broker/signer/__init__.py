"""Sign checkpoints of the log, and refuse a history that does not extend the last."""
