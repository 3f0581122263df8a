"""Who may do what: commands over the admin API, in the name of a person."""
