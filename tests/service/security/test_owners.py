"""What belongs to one owner is found by no other one, by no route: jobs, reports, their files, and images of tries.

The routes are those of the application, so that a new one is asked, too. Seen to fail when: a report is looked up
without its owner; images of tries lie in one folder for all.
"""

import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from service.jobs.ledger import NewJob
from service.jobs.progress import NewFile, NewReport, Outcome, Progress
from service.security.scopes import Scope
from service.store.database import Database
from service.trying.orders import TryOrder
from tests.service.security.conftest import House, opened
from tests.service.security.test_auth import every_route

SPEC = {"type": "evaluate", "target": "digits", "data": {"name": "digits", "n": 8}}
OWNED = {"job_id", "report_id", "sha256"}


@dataclass(frozen=True, slots=True)
class Estate:
    """What one owner has, and the keys of three who come by.

    Attributes:
        house: the application.
        names: an id of each kind, by the name of the route's parameter.
        keys: of the owner, of a stranger, and of an administrator who is another owner.
    """

    house: House
    names: dict[str, str]
    keys: dict[str, str]


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """Yield an application in which `alice` has a finished job with a file, a report and an image."""
    with opened(data=tmp_path_factory.mktemp("estate")) as house:
        rooms = house.rooms
        keys = {name: house.mint(Scope.READ, Scope.JOBS, name=name).token for name in ("alice", "mallory")}
        keys["root"] = house.mint(Scope.ADMIN, name="root").token
        database = Database(rooms.settings.database_url)
        job = rooms.ledger.create(NewJob("alice", "evaluate", SPEC, {}, 1, None)).job.id
        files = {
            form: rooms.artifacts.put(f"{form}<style></style>".encode()) for form in ("json", "html", "markdown", "csv")
        }
        progress = Progress(database, worker="w")
        progress.planned(job, shards=0, samples=0)
        report = progress.succeeded(
            job,
            Outcome(
                NewReport("d" * 64, "CHECKED", {"target": "digits"}, files),
                None,
                (NewFile("x1", files["csv"], 3, "text/csv"),),
            ),
        )
        database.close()
        written = io.BytesIO()
        Image.new("RGB", (8, 8), "red").save(written, format="PNG")
        image = rooms.tries.keep(written.getvalue(), owner="alice")
        yield Estate(house, {"job_id": job, "report_id": str(report), "sha256": image}, keys)


def owned_requests(estate: Estate) -> list[tuple[str, str]]:
    """Return method and path of every route that names something owned, the owner's ids filled in."""
    found = []
    for method, path in every_route(estate.house, filled=False):
        names = set(re.findall(r"{([^}:]*)[^}]*}", path))
        if names & OWNED:
            found.append((method, re.sub(r"{([^}:]*)[^}]*}", lambda name: estate.names.get(name[1], "x1"), path)))
    return found


def test_api1_every_route_hides_what_is_anothers(estate: Estate) -> None:
    """Each method of each route with an owned id answers 404 to a stranger and to an administrator alike."""
    asked = owned_requests(estate)
    assert len(asked) >= 15
    for who in ("mallory", "root"):
        for method, path in asked:
            query = "?with=" + estate.names["report_id"] if path.endswith(":compare") else ""
            answer = estate.house.ask(method, path + query, estate.keys[who])
            assert answer.status_code == 404, (who, method, path, answer.text)
    for path in (f"/api/v1/jobs/{estate.names['job_id']}", f"/api/v1/reports/{estate.names['report_id']}"):
        assert estate.house.ask("GET", path, estate.keys["alice"]).status_code == 200, "nothing was deleted"


def test_api1_the_owner_finds_all_of_it(estate: Estate) -> None:
    """The same ids answer their owner, so that the 404 above is about the owner and not about the id."""
    reads = [(method, path) for method, path in owned_requests(estate) if method == "GET"]
    reads = [(method, path) for method, path in reads if not path.endswith((":compare", "/events", "/partial"))]
    assert len(reads) >= 7
    for method, path in reads:
        assert estate.house.ask(method, path, estate.keys["alice"]).status_code in (200, 204), path


@pytest.mark.parametrize("who", ["mallory", "root"])
def test_api1_lists_and_pages_hold_ones_own(estate: Estate, who: str) -> None:
    """Lists, the start page and the choice of a comparison name nothing of another owner."""
    names = estate.names
    for path in ("/api/v1/jobs", "/api/v1/reports", "/", f"/compare?first={names['report_id']}"):
        text = estate.house.ask("GET", path, estate.keys[who]).text
        assert names["job_id"] not in text, path
        assert f'value="{names["report_id"]}"' not in text, path
    pair = f"/compare?first={names['report_id']}&second={names['report_id']}"
    assert estate.house.ask("GET", pair, estate.keys[who]).status_code == 404
    assert names["job_id"] in estate.house.ask("GET", "/", estate.keys["alice"]).text


def test_api1_images_of_a_try_are_not_shared(estate: Estate, tmp_path: Path) -> None:
    """The digest of an image opens it to whoever uploaded it only, and names no folder of another owner."""
    spool = estate.house.rooms.settings.data / "try" / "images"
    assert {path.name for path in spool.iterdir()} == {hashlib.sha256(b"alice").hexdigest()[:32]}
    body = {"image": {"sha256": estate.names["sha256"]}, "target": "digits"}
    TryOrder.model_validate(body)
    path = f"/api/v1/try/images/{estate.names['sha256']}"
    assert estate.house.ask("GET", path, estate.keys["alice"]).content.startswith(b"\x89PNG")
    assert estate.house.ask("GET", path, estate.keys["root"]).status_code == 404
