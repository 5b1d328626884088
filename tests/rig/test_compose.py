"""What the rig makes of a compose file, as far as nothing has to be started for it."""

import socket
import struct
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from rig import compose, dns, lone
from rig.rootfs import Mount


def read(tmp_path, text, **env):
    file = tmp_path / "compose.yaml"
    file.write_text(f"services: {{a: {{environment: {{X: '{text}'}}}}}}\n")
    return compose.read(file, env)["services"]["a"]["environment"]["X"]


@pytest.mark.parametrize(
    ("text", "env", "value"),
    [
        ("plain $ 5%", {}, "plain $ 5%"),
        ("$${A}", {"A": "a"}, "${A}"),
        ("<${A}>", {}, "<>"),
        ("<${A}>", {"A": "$${B}"}, "<$${B}>"),
        ("${A:-b}/${C:-d}", {"A": "a"}, "a/d"),
        ("${A:-b}", {"A": ""}, "b"),
        ("${A:?say A}", {"A": "a"}, "a"),
    ],
)
def test_variables_are_filled_in(tmp_path, text, env, value):
    assert read(tmp_path, text, **env) == value


@pytest.mark.parametrize("env", [{}, {"A": ""}])
def test_a_variable_that_must_be_given_is_missed(tmp_path, env):
    with pytest.raises(compose.ComposeError, match="A: say A"):
        read(tmp_path, "${A:?say A}", **env)


def test_the_last_stage_of_a_dockerfile_says_what_an_image_has(tmp_path):
    file = tmp_path / "Dockerfile"
    file.write_text(
        "FROM a AS one\nCOPY x /one\nWORKDIR /one\nFROM b\nCOPY --from=one /one /y\n"
        "COPY src /app/src\nWORKDIR /tmp\n"
    )

    image = compose.built(file, tmp_path)

    assert image.mounts == (Mount(Path("/app/src"), tmp_path / "src"),)
    assert (image.entrypoint, image.workdir) == ((), "/tmp")


def asked(at, name, sort=1):
    """The status and the addresses of an answer."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    question = struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + labels
    question += b"\0" + struct.pack("!HH", sort, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(b"noise", at)
        client.sendto(question, at)
        answer = client.recv(512)
    number, flags, _, count, _, _ = struct.unpack_from("!HHHHHH", answer)
    assert number == 7
    records = answer[len(question) :]
    return flags & 0xF, [str(IPv4Address(records[16 * i + 12 : 16 * i + 16])) for i in range(count)]


def test_names_of_services_have_the_addresses_of_all_their_containers():
    known = {"orders": [IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")]}

    with dns.Names(IPv4Address("127.0.0.1"), known.get, port=lone.free_port()) as names:
        at = names.address
        assert asked(at, "Orders") == (0, ["10.0.0.1", "10.0.0.2"])
        assert asked(at, "orders", sort=28) == (0, [])
        assert asked(at, "nobody.example") == (3, [])
