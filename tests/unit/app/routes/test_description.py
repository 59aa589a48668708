"""openapi.json names the service's address as a caller reaches it, and lists no pages."""

import json

from convpress.schemas import Job


def test_the_description_names_the_services_own_address_and_leads_back_to_its_pages(
    client,
):
    description = client.get("/openapi.json").json()
    assert "/jobs" in description["paths"]
    assert not [path for path in description["paths"] if "dashboard" in path]
    assert description["servers"] == [{"url": "http://localhost"}]
    assert "](http://localhost/)" in description["info"]["description"]
    other = client.get("/openapi.json", headers={"Host": "localhost:9"}).json()
    assert other["servers"] == [{"url": "http://localhost:9"}]
    assert "http://localhost/" not in other["info"]["description"]


def test_examples_of_jobs_have_all_members_of_a_job(client):
    for _ in range(2):  # FastAPI makes the description once
        description = client.get("/openapi.json").json()
        job = description["components"]["schemas"]["Job"]
        answers = description["paths"]["/advice"]["post"]["responses"]
        advice = answers["202"]["content"]["application/json"]["example"]
        assert set(job["required"]) <= job["example"].keys() & advice.keys()
        for example in (job["example"], advice):
            assert Job.model_validate_json(json.dumps(example)).phase is None
