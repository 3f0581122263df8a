"""Other issuers: their keys, fetched with care."""
