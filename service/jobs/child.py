"""The shard process: `python -m service.jobs.child <channel> <parent>`; started by the worker, dies with it."""

import logging
import socket
import sys
import time
from typing import Any

from service.errors import ServiceError
from service.jobs import frames
from service.jobs.discretion import without_places
from service.jobs.kinship import die_with_parent
from service.observability import logs
from service.settings import Settings

LOG = logging.getLogger("levelset.shards")


def main() -> None:
    """Answer questions until the worker closes the channel."""
    die_with_parent(int(sys.argv[2]))
    settings = Settings()
    logs.configure(settings.log_format, settings.log_level)
    from service.jobs.benches import Benches  # torch only now, after the kinship is set

    bench = Benches(settings)
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        while True:
            try:
                question = frames.receive(channel)
            except EOFError:
                return
            frames.send(channel, answer_once(bench, question, settings))


def answer_once(bench: Any, question: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Return the answer; the log names each shard before and after it ran, so that executions can be counted."""
    if question["do"] != "run":
        return _answer(bench, question, settings)
    named = {"shard": question["key"]}
    LOG.info("shard begins", extra={logs.FIELDS: named})
    began = time.perf_counter()
    answer = _answer(bench, question, settings)
    ended = {"cached": answer.get("cached"), "seconds": round(time.perf_counter() - began, 6)}
    LOG.info("shard ended", extra={logs.FIELDS: named | ended})
    return answer


def _is_told(error: Exception) -> bool:
    from ensemble.errors import LevelsetError

    return isinstance(error, LevelsetError | ServiceError)


def _answer(bench: Any, question: dict[str, Any], settings: Settings) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = bench.answer(question)
    except Exception as error:
        if _is_told(error):
            return {"error": {"code": "invalid", "message": without_places(str(error), settings)}}
        LOG.exception("%s failed", question.get("do"))
        return {
            "error": {
                "code": "internal",
                "message": f"{type(error).__name__} in the shard process; its log has the reason",
            }
        }
    return answer


if __name__ == "__main__":
    main()
