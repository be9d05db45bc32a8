"""Images in docker-registry on loopback, and the link to it that is slow."""

import os
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PROJECT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(PROJECT, "tests", "corpus"))
import push  # noqa: E402  (a script of the tests, not a module of ours)

from .measure import Failed  # noqa: E402


class Program:
    """A server in the background, on a port of loopback that was free."""

    def __init__(self, command, port, log):
        self.address = f"127.0.0.1:{port}"
        with open(log, "wb") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        for _ in range(400):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        self.stop()
        raise Failed(f"{command[0]} does not answer on {self.address}; see {log}")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def registry(data):
    """docker-registry with its blobs below `data`."""
    os.makedirs(data, exist_ok=True)
    port = free_port()
    config = data + ".yml"
    with open(config, "w", encoding="utf-8") as file:
        file.write("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
                   f"storage: {{filesystem: {{rootdirectory: {data}}}, cache: {{blobdescriptor: inmemory}}}}\n"
                   f'http: {{addr: "127.0.0.1:{port}"}}\n')
    return Program(["docker-registry", "serve", config], port, data + ".log")


def slow_link(to, log, delay=0.05, rate=5_000_000):
    """A proxy that holds back each request for `delay` seconds and gives each connection `rate` bytes a second."""
    port = free_port()
    script = os.path.join(PROJECT, "bench", "proxy.py")
    return Program([sys.executable, script, str(port), to.rpartition(":")[2], str(delay), str(rate)], port, log)


def serve(registry_address, layout, images):
    """Pushes images ({"name", "manifest"}) under their own names, byte for byte. What is there already stays."""
    for image in images:
        repository, tag = image["name"].rsplit(":", 1)
        repository = repository.removeprefix("registry.test/")
        target = push.Registry(f"http://{registry_address}/{repository}:{tag}")
        target.push_manifest(layout, image["manifest"], push.OCI_MANIFEST, tag)


def name_at(address, image, by_tag=False):
    """What an image is called in a registry: by digest, as it is recommended."""
    name = f"{address}/{image['name'].removeprefix('registry.test/')}"
    return name if by_tag else f"{name.rpartition(':')[0]}@{image['manifest']}"
