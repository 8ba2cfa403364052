"""Who may do what: keys with scopes, sessions of the pages, limits per key, and the record of what was done."""
