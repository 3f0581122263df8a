"""Carry what stands beside the product: reference CRM, migrations, deployment."""
