#!/usr/bin/env python3
"""validate.py DIRECTORY: checks lines `NAME<tab>JSON` on stdin against DIRECTORY/NAME.json (JSON Schema, draft 2020-12).

Stricter than the schemas are for readers: a field that a schema does not name is a fault here, so that a new one has to
be documented. Prints a line for each fault, which begins with the number of the line that has it; exit code 1 when there was
one.
"""

import json
import pathlib
import sys

from jsonschema import Draft202012Validator

BASE = "https://schema.invalid/"


def closed(schema):
    """The same, with no fields but those it names."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: closed(part) for key, part in schema.items()}
    if isinstance(out.get("properties"), dict) and out.get("type") == "object":
        out.setdefault("additionalProperties", False)
    return out


def validators(directory):
    schemas = {}
    for path in sorted(pathlib.Path(directory).glob("*.json")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        Draft202012Validator.check_schema(schema)
        schemas[path.stem] = closed(schema) | {"$id": BASE + path.name}
    try:
        from referencing import Registry, Resource

        named = [(schema["$id"], Resource.from_contents(schema)) for schema in schemas.values()]
        more = {"registry": Registry().with_resources(named)}
        return {name: Draft202012Validator(schema, **more) for name, schema in schemas.items()}
    except ImportError:  # jsonschema before 4.18, as in Debian 12
        from jsonschema import RefResolver

        store = {schema["$id"]: schema for schema in schemas.values()}
        return {
            name: Draft202012Validator(schema, resolver=RefResolver(schema["$id"], schema, store=store))
            for name, schema in schemas.items()
        }


def main():
    known = validators(sys.argv[1])
    faults = 0
    for number, line in enumerate(sys.stdin, 1):
        name, text = line.rstrip("\n").split("\t", 1)
        for error in known[name].iter_errors(json.loads(text)):
            faults += 1
            # Of alternatives, the one that fits best tells most.
            best = min(error.context, key=lambda one: -len(one.absolute_path), default=error)
            print(f"{number}: {name}: {error.json_path}: {error.message[:300]} ({best.message[:300]})")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
