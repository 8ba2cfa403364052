"""The page of the API says what the OpenAPI document says.

Seen to fail when: references are not resolved; fields of a field are left out; `required` is read from elsewhere.
"""

from service.web.docs_page import docs_page
from tests.service.web import samples


def test_operations_stand_in_their_chapters_with_every_field() -> None:
    """Parameters, fields of the body and fields inside fields are listed with their types."""
    page = docs_page(samples.DOCUMENT)
    ((operation,),) = [chapter.operations for chapter in page.chapters]
    assert (operation.method, operation.path) == ("POST", "/api/v1/jobs")
    listed = {one.name: (one.place, one.kind, one.required) for one in operation.parameters}
    assert listed == {
        "Idempotency-Key": ("header", "string", False),
        "target": ("body", "string", True),
        "data": ("body", "Data", False),
        "data.n": ("body", "integer", False),
    }
    assert operation.answers == (("202", "queued"),)
    assert '"target": "digits"' in operation.example


def test_a_document_without_anything_is_a_page() -> None:
    """Nothing is required of the document."""
    assert docs_page({}).chapters == ()
