"""Teams, people and keys: made by the operator and by people, used by the SDK."""

import os
import uuid

import httpx
import pytest
from e2b import AuthenticationException, RateLimitException, Sandbox
from outside import API_URL

TOKEN = os.environ.get("WARREN_ADMIN_TOKEN")
pytestmark = pytest.mark.skipif(not TOKEN, reason="needs the operator's token of the server")


@pytest.fixture
def operator():
    with httpx.Client(base_url=API_URL, headers={"X-Admin-Token": TOKEN}, timeout=30) as client:
        yield client


@pytest.fixture
def team(operator):
    """A team of its own with a person in it, and the person's client."""
    made = operator.post("/admin/teams", json={"name": f"team {uuid.uuid4()}"}).json()
    members = f"/admin/teams/{made['teamID']}/members"
    user = operator.post(members, json={"email": f"{uuid.uuid4()}@example.com"}).json()
    tokens = f"/admin/users/{user['userID']}/access-tokens"
    token = operator.post(tokens, json={"name": "test"}).json()["token"]
    with httpx.Client(base_url=API_URL, headers={"Authorization": f"Bearer {token}"}, timeout=30) as person:
        yield made["teamID"], person
    operator.post(f"/admin/teams/{made['teamID']}/sandboxes/kill")


def test_a_key_works_until_it_is_revoked(team):


    """Row: A1."""
    _, person = team
    made = person.post("/api-keys", json={"name": "ci"}).json()
    with Sandbox.create(timeout=60, api_key=made["key"]) as sandbox:
        listed = Sandbox.list(api_key=made["key"]).next_items()
        assert [one.sandbox_id for one in listed] == [sandbox.sandbox_id]
        # The first key's team sees nothing of it.
        assert sandbox.sandbox_id not in [one.sandbox_id for one in Sandbox.list().next_items()]
    shown = person.get("/api-keys").json()
    assert [key["name"] for key in shown] == ["ci"] and made["key"] not in str(shown)
    assert person.delete(f"/api-keys/{made['id']}").status_code == 204
    with pytest.raises(AuthenticationException):
        Sandbox.list(api_key=made["key"]).next_items()


def test_a_team_has_its_own_limit(team, operator):


    """Row: C9."""
    team_id, person = team
    key = person.post("/api-keys", json={"name": "ci"}).json()["key"]
    operator.patch(f"/admin/teams/{team_id}", json={"maxSandboxes": 1})
    with Sandbox.create(timeout=60, api_key=key):
        with pytest.raises(RateLimitException, match="maximum number of concurrent"):
            Sandbox.create(timeout=60, api_key=key)


def test_a_log_in_gets_a_key_for_each_team(team):
    team_id, person = team
    (found,) = person.get("/teams").json()
    assert found["teamID"] == team_id and found["isDefault"]
    assert Sandbox.list(api_key=found["apiKey"]).next_items() == []
