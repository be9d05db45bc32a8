#!/usr/bin/env python3
"""Push an image or a list of an OCI layout into a registry, byte for byte.

  push.py LAYOUT REF http://127.0.0.1:PORT/repository[:TAG]

skopeo may convert, leaves out the platforms it does not run on, and 1.9 does not read schema 2 images
from an OCI layout; this sends the documents as they are: for tests of list pins, schema 2 and unknown keys. REF is a name in index.json or
a digest. Prints the digest of what was pushed; without TAG, only that digest names it. Plain HTTP; no credentials
but `user:password@` in the address. Standard library only.
"""

import base64
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request

REF_NAME = "org.opencontainers.image.ref.name"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Registry:
    """One repository of a registry (distribution API, version 2)."""

    def __init__(self, address):
        url = urllib.parse.urlsplit(address)
        self.repository, _, self.tag = url.path.strip("/").partition(":")
        self.api = f"{url.scheme}://{url.netloc.rpartition('@')[2]}/v2/{self.repository}/"
        self.headers = {}
        if url.username:
            secret = f"{url.username}:{url.password}".encode()
            self.headers["Authorization"] = "Basic " + base64.b64encode(secret).decode()

    def request(self, method, address, data=None, size=0, kind="application/octet-stream"):
        headers = {**self.headers, "Content-Type": kind, "Content-Length": str(size)}
        url = urllib.parse.urljoin(self.api, address)
        request = urllib.request.Request(url, data=data, headers=headers, method=method)
        return urllib.request.urlopen(request, timeout=60)

    def push_blob(self, layout, digest):
        try:
            self.request("HEAD", "blobs/" + digest).close()
            return
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
        location = self.request("POST", "blobs/uploads/").headers["Location"]
        location += ("&" if "?" in location else "?") + "digest=" + digest
        with open(blob_path(layout, digest), "rb") as data:
            self.request("PUT", location, data, os.fstat(data.fileno()).st_size).close()

    def push_manifest(self, layout, digest, kind, tag):
        """A manifest after its blobs, a list after its manifests."""
        with open(blob_path(layout, digest), "rb") as file:
            data = file.read()
        value = json.loads(data)
        for entry in value.get("manifests", []):
            self.push_manifest(layout, entry["digest"], entry["mediaType"], "")
        for blob in ([value["config"]] if "config" in value else []) + value.get("layers", []):
            self.push_blob(layout, blob["digest"])
        self.request("PUT", "manifests/" + (tag or digest), data, len(data), kind).close()


def blob_path(layout, digest):
    return os.path.join(layout, "blobs", *digest.split(":"))


def find(layout, ref):
    """Digest and media type of a name in index.json, or of a digest anywhere in the layout."""
    with open(os.path.join(layout, "index.json"), encoding="utf-8") as file:
        for entry in json.load(file)["manifests"]:
            if ref in (entry.get("annotations", {}).get(REF_NAME), entry["digest"]):
                return entry["digest"], entry["mediaType"]
    if not ref.startswith("sha256:"):
        sys.exit(f"push: {layout} has no {ref}")
    with open(blob_path(layout, ref), "rb") as file:
        return ref, json.load(file).get("mediaType", OCI_MANIFEST)


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    layout, ref, address = sys.argv[1:]
    digest, kind = find(layout, ref)
    registry = Registry(address)
    try:
        registry.push_manifest(layout, digest, kind, registry.tag)
    except urllib.error.HTTPError as error:
        sys.exit(f"push: {error.url}: {error.code} {error.read(500).decode(errors='replace')}")
    print(digest)


if __name__ == "__main__":
    main()
