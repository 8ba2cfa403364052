"""The command line: `levelset demo | build | evaluate | serve | keys | backup | restore | ...`."""

from service.cli.program import create_cli, main

__all__ = ["create_cli", "main"]
