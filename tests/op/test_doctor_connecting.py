"""How the doctor gets into a cluster: kubeconfigs of every kind, and whom it asks as."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from flowgauge_operator.doctor import connecting, impersonation
from flowgauge_operator.doctor.asking import Outside
from flowgauge_operator.doctor.connecting import ClusterError, Entry
from flowgauge_operator.doctor.impersonation import Impersonation


class Server:
    """An API server that knows its version, and keeps the headers that it was asked with."""

    def __init__(self, status=200, answer=None):
        told, self.headers, self.paths = self, [], []
        body = json.dumps({"gitVersion": "v1.36.0"} if answer is None else answer).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                told.headers.append(self.headers)
                told.paths.append(self.path)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.inner = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.inner.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.inner.server_port}"


@pytest.fixture
def serve():
    made = []

    def start(*arguments):
        made.append(Server(*arguments))
        return made[-1]

    yield start
    for one in made:
        one.inner.shutdown()
        one.inner.server_close()


@pytest.fixture(autouse=True)
def empty(monkeypatch, tmp_path):
    """Nobody's home and no pod."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def config(server="http://127.0.0.1:1", user=None, **changes):
    found = {
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user if user is not None else {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    return found | changes


@pytest.fixture
def write(tmp_path):
    def to_file(content, name="config"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return str(path)

    return to_file


TWO = [
    {"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "shop"}},
    {"name": "y", "context": {"cluster": "c", "user": "u", "namespace": "farm"}},
]
HOSTILE = {
    "empty": ("", "is not a kubeconfig"),
    "no YAML": ("a: [", "cannot read the kubeconfig"),
    "a list": ("- a", "is not a kubeconfig"),
    "no current context": (config(**{"current-context": ""}), "no current-context; choose one with --context"),
    "a current context that is not there": (config(**{"current-context": "z"}), "no context named 'z' (there are: x)"),
    "no such cluster": (config(clusters=[]), "no cluster named 'c'"),
    "no such user": (config(users=[]), "no user named 'u'"),
    "no server": (config(clusters=[{"name": "c", "cluster": {}}]), "the cluster of context 'x' has no server"),
    "clusters that are none": (config(clusters="c"), "clusters must be a list of items with name and cluster"),
    "users that are none": (config(users=["u"]), "users must be a list of items with name and user"),
    "a context that is none": (config(contexts=[{"name": "x", "context": "c"}]), "contexts must be a list"),
    "a CA that is not there": (
        config(clusters=[{"name": "c", "cluster": {"server": "https://127.0.0.1:1", "certificate-authority": "gone.pem"}}]),
        "gone.pem",
    ),
    "a plugin that is not there": (
        config(user={"exec": {"command": "no-such-plugin", "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never"}}),
        "no-such-plugin",
    ),
    "a plugin that says how it is installed": (
        config(user={"exec": {"command": "no-such-plugin", "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never", "installHint": "get\nit"}}),
        "; get it",
    ),
    "a cluster whose name is a list": (
        config(contexts=[{"name": "x", "context": {"cluster": ["c"]}}]), "no cluster named ['c']",
    ),
    "a server that is no URL": (config(server="127.0.0.1:1"), "must be a URL, such as https://127.0.0.1:1"),
    "a server that is a number": (config(server=12), "must be a URL"),
    "a certificate that is no base64": (
        config(server="https://127.0.0.1:1", user={"client-certificate-data": "AAA", "client-key-data": "A"}), "is not base64",
    ),
    "a token file that is not there": (config(user={"tokenFile": "/gone"}), "/gone"),
    "a proxy that is none": (
        config(clusters=[{"name": "c", "cluster": {"server": "https://127.0.0.1:1", "proxy-url": "nonsense://p"}}]),
        "nonsense",
    ),
    "a proxy that nobody answers for": (
        config(clusters=[{"name": "c", "cluster": {"server": "https://127.0.0.1:1", "proxy-url": "http://127.0.0.1:1"}}]),
        "cannot be asked: the proxy: Failed to establish",
    ),
    "nobody listens": (config(), "cannot be asked: Failed to establish a new connection"),
    "groups without a user": (config(user={"as-groups": ["g"]}), "as-groups without a user"),
    "a uid without a user": (config(user={"as-uid": "1"}), "as-uid without a user"),
    "a user that is a number": (config(user={"as": 7}), "as of the user of the kubeconfig must be a text"),
    "groups that are a text": (config(user={"as": "a", "as-groups": "g"}), "as-groups of the user of the kubeconfig must be a list"),
    "a user over two lines": (config(user={"as": "a\nb"}), "characters that cannot be printed"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_kubeconfig_that_cannot_be_used_is_told_in_one_line(name, write):
    content, words = HOSTILE[name]

    with pytest.raises(ClusterError) as error:
        connecting.connect(Entry(write(content), timeout=2))

    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_named_with_the_remedy(tmp_path):
    with pytest.raises(ClusterError, match="cannot read the kubeconfig .*/gone.*--kubeconfig"):
        connecting.connect(Entry(str(tmp_path / "gone")))


def test_nothing_at_all_is_told(tmp_path):
    with pytest.raises(ClusterError, match=r"no kubeconfig at .*/\.kube/config"):
        connecting.connect(Entry())


def test_the_context_brings_its_namespace(serve, write):
    path = write(config(serve().url, contexts=TWO))

    assert connecting.connect(Entry(path))[1] == "shop"
    assert connecting.connect(Entry(path, "y"))[1] == "farm"


def test_several_files_are_merged_as_kubectl_does(serve, write, monkeypatch):
    first = write({"current-context": "y"}, "first")
    second = write(config(serve().url, contexts=TWO), "second")
    monkeypatch.setenv("KUBECONFIG", f"{first}:{first}-gone:{second}")

    assert connecting.connect(Entry())[1] == "farm"


@pytest.mark.parametrize(
    ("status", "answer", "words"),
    [
        (401, {"message": "Unauthorized"}, "not accepted (401): Unauthorized; log in again"),
        (403, {"message": 'User "u" cannot impersonate resource "users"'}, "ask for the right to impersonate"),
        (404, {"message": "no"}, "cannot be asked: not found"),
        (500, {"message": "no"}, "it answered 500: no"),
        (302, "elsewhere", "it answered 302"),
        (200, ["a"], "is no API server of Kubernetes"),
        (200, {"status": "success"}, "is no API server of Kubernetes"),
    ],
)  # fmt: skip
def test_what_is_no_api_server_for_us_is_told(serve, write, status, answer, words):
    with pytest.raises(ClusterError) as error:
        connecting.connect(Entry(write(config(serve(status, answer).url))))

    assert words in str(error.value)


def test_a_ca_that_is_none_is_told(serve, write):
    url = serve().url.replace("http:", "https:")
    cluster = {"server": url, "certificate-authority-data": "bm9uZQ=="}

    with pytest.raises(ClusterError, match="cannot be asked: .*(no certificate|PEM)"):
        connecting.connect(Entry(write(config(clusters=[{"name": "c", "cluster": cluster}]))))


def test_who_may_not_see_the_version_may_see_other_things(serve, write):
    api, _ = connecting.connect(Entry(write(config(serve(403, {"message": "no"}).url))))

    assert api.get("/version").sort == "forbidden"


def test_whom_to_ask_as_is_said_in_every_request(serve, write):
    server = serve()
    user = {
        "token": "t",
        "as": "jürg",
        "as-groups": ["a", "b"],
        "as-uid": "7",
        "as-user-extra": {"Scopes/x": ["one", "two"]},
    }

    api, _ = connecting.connect(Entry(write(config(server.url, user))))
    api.create("/apis/x", {})

    for headers in server.headers:
        assert headers["Impersonate-User"].encode("latin-1").decode() == "jürg"
        assert headers.get_all("Impersonate-Group") == ["a", "b"]
        assert headers["Impersonate-Uid"] == "7"
        assert headers.get_all("Impersonate-Extra-scopes%2fx") == ["one", "two"]
        assert headers["Authorization"] == "Bearer t"


def test_flags_have_their_way_over_the_kubeconfig():
    user = {"as": "anna", "as-groups": ["a"], "as-uid": "7"}

    taken = impersonation.of(user, Impersonation("otto", ("b", "c d")))

    assert taken == Impersonation("otto", ("b", "c d"), "7")
    assert taken.flags() == " --as=otto --as-group=b '--as-group=c d' --as-uid=7"
    assert impersonation.of({}, Impersonation()).headers() == []


def test_a_command_that_is_shown_asks_as_the_same_user(serve, write):
    server = serve(403, {"message": "no"})

    api, _ = connecting.connect(
        Entry(write(config(server.url)), impersonation=Impersonation("otto"))
    )

    assert api.listed("/api/v1/namespaces").remedy == (
        "kubectl auth can-i list namespaces --all-namespaces --as=otto"
    )


def test_a_url_of_a_prometheus_may_hold_a_login_and_a_prefix(serve):
    server = serve()
    url = server.url.replace("//", "//me%40home:p%3Aw@") + "/prom/?a=b#c"

    outside = Outside(url, "", "", 2)
    outside.get("/api/v1/query", {"query": "up"})

    assert outside.way == f"at {server.url}/prom"
    assert server.paths == ["/prom/api/v1/query?query=up"]
    login = base64.b64decode(server.headers[0]["Authorization"].removeprefix("Basic "))
    assert login == b"me@home:p:w"


def test_a_url_is_asked_through_the_proxy_of_the_environment_unless_it_is_here(serve, monkeypatch):
    proxy, here = serve(), serve()
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "near.example")

    Outside("http://far.example:9090", "", "", 2).get("/x", {})
    Outside("http://near.example:1", "", "", 0.1).get("/y", {})
    Outside(here.url, "", "", 2).get("/z", {})

    assert (proxy.paths, here.paths) == (["http://far.example:9090/x"], ["/z"])


def test_in_a_pod_its_own_account_is_used(serve, monkeypatch, tmp_path):
    server = serve()
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text("t")
    (account / "namespace").write_text("shop\n")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setattr(connecting, "SERVICE_ACCOUNT", account)

    def load(client_configuration):
        client_configuration.host = server.url

    monkeypatch.setattr(connecting.config, "load_incluster_config", load)

    assert connecting.connect(Entry())[1] == "shop"
