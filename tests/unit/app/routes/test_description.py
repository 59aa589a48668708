"""openapi.json names the service's address as a caller reaches it, and lists no pages."""


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
