"""Speak to a payment provider over Stripe's API: payers, charges, intents, refunds."""
