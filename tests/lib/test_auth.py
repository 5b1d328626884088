import base64
import http.client
import os

import pytest

from flowgauge import guard
from flowgauge.serving import changes
from flowgauge.serving.auth import Auth
from flowgauge.serving.pages import Page
from flowgauge.serving.server import Server


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Files are looked at each time, and each test begins without reports."""
    monkeypatch.setattr(changes, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(guard, "_reported", {})


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def ask(auth, authorization=None, path="/metrics"):
    endpoint = Server("127.0.0.1", 0, lambda _: Page(b"secret", "text/plain"), auth=auth)
    endpoint.start()
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=60)
    try:
        headers = {} if authorization is None else {"Authorization": authorization}
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.headers.get_all("WWW-Authenticate"), response.read()
    finally:
        connection.close()
        endpoint.stop()


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        basic("scraper", "wrong"),
        basic("other", "päss:word"),
        basic("scraper", "päss:word") + "x",
        basic("scraper", "päss:word")[:-1] + "!" + basic("scraper", "päss:word")[-1],
        "Basic ",
        "Basic !!!",
        "Basic ä",
        "Bearer t0ken.of-ours",
        "päss:word",
    ],
)
def test_wrong_or_missing_credentials_are_refused_with_the_way_to_give_them(authorization):
    auth = Auth(username="scraper", password="päss:word")
    status, challenges, body = ask(auth, authorization and authorization.encode())

    assert (status, challenges) == (401, ['Basic realm="metrics", charset="UTF-8"'])
    assert body == b"credentials are missing or wrong\n"


def test_a_user_with_the_right_password_is_served():
    auth = Auth(username="scraper", password="päss:word")

    assert ask(auth, basic("scraper", "päss:word"))[::2] == (200, b"secret")
    assert ask(auth, basic("scraper", "päss:word").replace("Basic", "basic"))[0] == 200


@pytest.mark.parametrize(
    "given", ["Bearer wrong", "Bearer ", "Bearer t0ken.of-ours2", "t0ken.of-ours", "Bearer \xe4"]
)
def test_only_the_bearer_of_the_token_is_served(given):
    auth = Auth(token="t0ken.of-ours")

    assert ask(auth, given)[:2] == (401, ['Bearer realm="metrics"'])
    assert ask(auth, "Bearer t0ken.of-ours")[0] == 200
    assert ask(auth, "bearer  t0ken.of-ours ")[0] == 200


def test_either_way_is_enough_where_both_are_given():
    auth = Auth(username="scraper", password="a", token="b")

    assert ask(auth, basic("scraper", "a"))[0] == 200
    assert ask(auth, "Bearer b")[0] == 200
    assert ask(auth)[:2] == (
        401,
        ['Basic realm="metrics", charset="UTF-8"', 'Bearer realm="metrics"'],
    )


def test_probes_need_no_credentials_and_other_paths_tell_nothing():
    auth = Auth(token="t")

    assert [ask(auth, path=path)[0] for path in ("/healthz", "/readyz", "/x")] == [200, 200, 404]


def test_a_secret_in_a_file_is_read_again_when_it_changes(tmp_path, caplog):
    file = tmp_path / "token"
    file.write_text("first\n")
    allows = Auth(token_file=file).checker()
    assert allows("Bearer first")

    file.write_text("second\n")
    assert (allows("Bearer first"), allows("Bearer second")) == (False, True)

    # As Kubernetes does it: another file in the same place, of the same length and time.
    other = tmp_path / "other"
    other.write_text("thirds\n")
    before = file.stat()
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(file)
    assert (allows("Bearer second"), allows("Bearer thirds")) == (False, True)

    file.unlink()
    assert allows("Bearer thirds")
    assert "What was there before stays in use" in caplog.text
    file.write_text("fourth")
    assert allows("Bearer fourth")


def test_files_that_did_not_fit_are_tried_again_although_they_stay_the_same(tmp_path):
    file = tmp_path / "file"
    file.write_text("one")
    problems = []

    def load():
        if problems:
            raise ValueError(problems.pop())
        return file.read_text()

    watched = changes.Watched("test", [str(file)], load)
    file.write_text("three")
    problems.append("half of it was written")

    assert [watched.value(), watched.value()] == ["one", "three"]


def test_files_are_looked_at_once_a_second_at_most(tmp_path, monkeypatch):
    monkeypatch.setattr(changes, "LOOK_SECONDS", 1000.0)
    file = tmp_path / "file"
    file.write_text("one")
    watched = changes.Watched("test", [str(file)], file.read_text)
    file.write_text("three")

    assert watched.value() == "one"


def test_a_password_in_a_file(tmp_path):
    file = tmp_path / "password"
    file.write_text(" with space inside \n")

    assert Auth(username="scraper", password_file=str(file)).checker()(
        basic("scraper", "with space inside")
    )


def test_a_file_that_becomes_empty_does_not_open_the_door(tmp_path):
    file = tmp_path / "password"
    file.write_text("secret")
    allows = Auth(username="scraper", password_file=file).checker()

    file.write_text("")

    assert not allows(basic("scraper", ""))
    assert allows(basic("scraper", "secret"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "auth has no secret; give username and password_file, or token_file"),
        ({"password": "x"}, "auth username is missing"),
        ({"username": "x"}, "auth has no secret"),
        ({"username": "x", "token": "y"}, "auth password is missing; give password_file"),
        ({"username": "a:b", "password": "x"}, "auth username must not have a colon"),
        (
            {"username": "a", "password": "x", "password_file": "y"},
            "password and password_file are both given",
        ),
        ({"token": "x", "token_file": "y"}, "auth token and token_file are both given"),
        ({"token": "two words"}, "auth token has characters that a bearer token cannot have"),
        (
            {"token_file": "/does/not/exist"},
            r"auth token_file '/does/not/exist' cannot be read \(No such file",
        ),
        (
            {"token_file": "/"},
            r"auth token_file '/' cannot be read \(Is a directory\); give a file",
        ),
        (
            {"token_file": "/dev/null"},
            "auth token_file '/dev/null' is empty; write the token into it",
        ),
    ],
)
def test_credentials_that_cannot_be_are_refused_with_field_and_remedy(fields, message):
    with pytest.raises(ValueError, match=message):
        Auth(**fields)


def test_secrets_do_not_show_and_cannot_be_changed():
    auth = Auth(username="scraper", password="hunter2", token="t0ken")

    assert "hunter2" not in repr(auth)
    assert "t0ken" not in repr(auth)
    assert auth == Auth(username="scraper", password="hunter2", token="t0ken")
    with pytest.raises(AttributeError):
        auth.password = "other"
