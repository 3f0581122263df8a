"""Run what agents may call, confined and without a credential."""
