"""The OpenAPI document: shapes of what the routes answer, what every route may refuse, examples of both."""
