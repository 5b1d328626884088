import asyncio
import base64
import shutil
import ssl
import sys

import pytest
import virtual
import yaml

from flowgauge_operator import credentials
from flowgauge_operator.credentials import Bearer, Credentials, CredentialsError

PEM = "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n"


def b64(text):
    return base64.b64encode(text.encode()).decode()


def config(cluster=None, user=None, context=None):
    return {
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": "https://api:6443/", **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", **(context or {})}}],
    }


@pytest.fixture
def load(tmp_path):
    def load(content, **options):
        path = tmp_path / "config"
        path.write_text(yaml.safe_dump(content))
        return credentials.load({"KUBECONFIG": str(path)}, **options)

    return load


@pytest.fixture
def account(tmp_path):
    folder = tmp_path / "account"
    folder.mkdir()
    for name, text in {"token": "abc\n", "namespace": "system\n", "ca.crt": PEM}.items():
        (folder / name).write_text(text)
    return folder


def test_in_a_pod_the_service_account_is_used(account):
    found = credentials.load({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, service_account=account)

    assert found == Credentials(
        server="https://10.0.0.1:443",
        namespace="system",
        ca_file=account / "ca.crt",
        token_file=account / "token",
    )


def test_an_ipv6_address_of_the_api_server_is_bracketed(account):
    env = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}

    assert credentials.load(env, service_account=account).server == "https://[fd00::1]:6443"


def test_a_named_context_beats_the_service_account(account, tmp_path):
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config(user={"token": "t"})))
    env = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBECONFIG": str(path)}

    found = credentials.load(env, context="here", service_account=account)

    assert found.server == "https://api:6443"


def test_without_any_credentials_the_remedy_is_named(tmp_path):
    with pytest.raises(CredentialsError, match="set KUBECONFIG"):
        credentials.load({"HOME": str(tmp_path)}, service_account=tmp_path)


def test_the_config_in_the_home_folder_is_found(tmp_path):
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube/config").write_text(yaml.safe_dump(config()))

    found = credentials.load({"HOME": str(tmp_path)}, service_account=tmp_path)

    assert (found.server, found.namespace, found.verify) == ("https://api:6443", "default", True)


def test_inline_data_is_decoded(load):
    cluster = {"certificate-authority-data": b64(PEM)}
    user = {"client-certificate-data": b64("cert"), "client-key-data": b64("key")}

    found = load(config(cluster, user, {"namespace": "shop"}))

    assert (found.ca_data, found.cert_data, found.key_data) == (PEM, "cert", "key")
    assert found.namespace == "shop"


def test_paths_are_relative_to_the_kubeconfig(load, tmp_path):
    found = load(config({"certificate-authority": "ca.crt"}, {"tokenFile": "sub/token"}))

    assert found.ca_file == tmp_path / "ca.crt"
    assert found.token_file == tmp_path / "sub/token"


def test_inline_data_beats_a_file(load):
    found = load(config({"certificate-authority": "x", "certificate-authority-data": b64(PEM)}))

    assert (found.ca_file, found.ca_data) == (None, PEM)


def test_verification_can_be_switched_off(load):
    found = load(config({"insecure-skip-tls-verify": True}))

    assert found.tls().verify_mode == ssl.CERT_NONE


def test_of_several_files_the_first_that_names_something_wins(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(yaml.safe_dump({"users": [{"name": "u", "user": {"token": "first"}}]}))
    second.write_text(yaml.safe_dump(config(user={"token": "second"})))

    found = credentials.load({"KUBECONFIG": f"{first}:{second}"}, service_account=tmp_path)

    assert (found.server, found.token) == ("https://api:6443", "first")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (config(), {"context": "prod"}, r"no context named 'prod' \(there are: here\)"),
        ({**config(), "clusters": []}, {}, r"no cluster named 'c' \(there are: none\)"),
        ({**config(), "current-context": ""}, {}, "choose one with --context"),
        (config({"server": ""}), {}, "no server"),
        (
            config({"certificate-authority-data": "%"}),
            {},
            "certificate-authority-data is not base64",
        ),
        (config({"tls-server-name": "x"}), {}, "tls-server-name is not supported"),
        (config(user={"as": "admin"}), {}, "impersonation"),
        (["a list"], {}, "is not a kubeconfig"),
    ],
)
def test_a_broken_kubeconfig_is_explained(load, content, options, message):
    with pytest.raises(CredentialsError, match=message):
        load(content, **options)


def test_a_certificate_that_cannot_be_read_is_explained(load):
    with pytest.raises(CredentialsError, match="the certificates for https://api:6443"):
        load(config({"certificate-authority": "absent.crt"})).tls()


def test_secrets_are_not_shown():
    found = Credentials(server="https://api", token="hush", key_data="hush", cert_data="hush")

    assert "hush" not in repr(found)


def plugin(tmp_path, token):
    """A credential plugin: prints a token that expires at once."""
    status = f'{{"token": "{token}", "expirationTimestamp": "2020-01-01T00:00:00Z"}}'
    answer = (
        '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",'
        f' "status": {status}}}'
    )
    (tmp_path / "answer.json").write_text(answer)
    cat = shutil.which("cat") or "/bin/cat"
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": cat,
            "args": [str(tmp_path / "answer.json")],
            "interactiveMode": "Never",
        }
    }


def test_a_credential_plugin_is_run_by_the_official_client(load, tmp_path):
    found = load(config({"insecure-skip-tls-verify": True}, plugin(tmp_path, "first")))

    async def tokens():
        bearer = Bearer(found)
        first = await bearer.token()
        plugin(tmp_path, "second")
        return first, await bearer.token(), await bearer.token(fresh=True)

    assert found.server == "https://api:6443"
    assert not found.verify
    assert asyncio.run(tokens()) == ("first", "first", "second")


def test_without_the_official_client_the_extra_is_named(load, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kubernetes", None)

    with pytest.raises(CredentialsError, match=r"pip install 'flowgauge\[cli\]'"):
        load(config(user=plugin(tmp_path, "x")))


def test_a_token_file_is_read_again_after_a_minute(tmp_path):
    path = tmp_path / "token"
    now = [0.0]

    async def tokens():
        bearer = Bearer(Credentials(server="x", token_file=path), clock=lambda: now[0])
        for second, text in [(0, "a"), (59, "b"), (60, "c")]:
            now[0] = second
            path.write_text(f"{text}\n")
            yield await bearer.token()

    async def collected():
        return [token async for token in tokens()]

    assert virtual.run(collected()) == ["a", "a", "c"]


def test_a_refused_token_is_read_again_at_once(tmp_path):
    path = tmp_path / "token"
    path.write_text("old")

    async def tokens():
        bearer = Bearer(Credentials(server="x", token_file=path))
        first = await bearer.token()
        path.write_text("new")
        return first, await bearer.token(fresh=True)

    assert virtual.run(tokens()) == ("old", "new")


def test_a_token_file_that_vanishes_leaves_the_last_token(tmp_path):
    path = tmp_path / "token"
    path.write_text("last")

    async def tokens():
        bearer = Bearer(Credentials(server="x", token_file=path))
        await bearer.token()
        path.unlink()
        return await bearer.token(fresh=True)

    assert virtual.run(tokens()) == "last"
