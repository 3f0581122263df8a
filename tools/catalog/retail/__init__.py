"""Speak to the shop's CRM: customers, orders, refunds and answers."""
