"""`python -m service.cli`: the same as `levelset`, for processes that know the interpreter and not the script."""

from service.cli.program import main

main()
