"""The command line: `levelset demo | build | evaluate | serve | report | sites | doctor`."""

from service.cli.program import create_cli, main

__all__ = ["create_cli", "main"]
