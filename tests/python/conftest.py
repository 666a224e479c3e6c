"""The gateway as a process, for every test that asks for it. TIDEGATE_BIN names the binary."""

import json
import os
import pathlib
import subprocess
import tempfile

import pytest

WORKSPACE = pathlib.Path(__file__).parents[2]
BINARY = os.environ.get("TIDEGATE_BIN", WORKSPACE / "target/release/tidegate")
# `TIDEGATE_*` configures a gateway; ours are configured by their arguments alone.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}


class Gateway:
    """A running gateway with a data directory of its own."""

    def __init__(self, directory, *arguments):
        self.data_dir = os.path.join(directory, "data")
        self.log = open(os.path.join(directory, "stderr"), "w+")
        command = [BINARY, "serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--shards", "2"]
        self.process = subprocess.Popen(
            [*command, "--data-dir", self.data_dir, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=ENVIRONMENT,
        )
        line = self.process.stdout.readline()
        assert line, f"the gateway did not start:\n{self.stderr()}"
        self.ready = json.loads(line)
        self.host, port = self.ready["ws"].rsplit(":", 1)
        self.port = int(port)
        self.url = f"ws://{self.ready['ws']}/ws"

    def token(self, user, device=1, ttl="1h"):
        command = [BINARY, "token", "--user", str(user), "--device", str(device), "--ttl", ttl]
        command += ["--data-dir", self.data_dir]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=ENVIRONMENT).stdout.strip()

    def stderr(self):
        self.log.seek(0)
        return self.log.read()

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()


def run_gateway(*arguments):
    with tempfile.TemporaryDirectory() as directory:
        gateway = Gateway(directory, *arguments)
        try:
            yield gateway
            assert gateway.process.poll() is None, f"the gateway ended:\n{gateway.stderr()}"
            assert "panicked at" not in gateway.stderr()
        finally:
            gateway.stop()


@pytest.fixture(scope="module")
def gateway():
    yield from run_gateway()


@pytest.fixture(scope="module")
def echo_gateway():
    yield from run_gateway("--echo")
