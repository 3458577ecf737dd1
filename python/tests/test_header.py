"""The package and include/dmapi.h say the same: functions, sizes, offsets, numbers. Needs no daemon."""

import ctypes
import inspect
import re
import subprocess
from pathlib import Path

import pytest

from dmapi import raw

ROOT = Path(__file__).resolve().parents[2]
INCLUDE = ROOT / "include"

SKIPPED_MACROS = re.compile(r"^(DM_GLOBAL_HANP|DM_INVALID_HANP|DM_VER_STR_CONTENTS|DMAPI_\w+|DMEV_\w+)$")
"""Pointers and strings, which the package has no use for, what only macros use, and include guards."""


def header_text() -> str:
    text = "".join((INCLUDE / name).read_text() for name in ("dmapi.h", "dmapi_macros.h"))
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.S)


def structures() -> list:
    found = []
    for _, kind in inspect.getmembers(raw, inspect.isclass):
        if issubclass(kind, (ctypes.Structure, ctypes.Union)) and kind.__module__ == raw.__name__:
            found.append(kind)
    return found


def constants() -> dict:
    return {name: value for name, value in vars(raw).items() if re.match(r"(DM|MAXDM)[A-Z_0-9]+$", name)}


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> dict:
    """What a C compiler makes of the header: lines "name number"."""
    lines = []
    for kind in structures():
        tag = "union" if issubclass(kind, ctypes.Union) else "struct"
        c = f"{tag} {kind.__name__}"
        lines.append(f'printf("%s %lld\\n", "{kind.__name__}", (long long)sizeof({c}));')
        for field, _ in kind._fields_:
            lines.append(
                f'printf("%s %lld\\n", "{kind.__name__}.{field}", (long long)offsetof({c}, {field}));'
            )
    for name in constants():
        lines.append(f'printf("%s %llu\\n", "{name}", (unsigned long long)({name}));')
    source = "#include <dmapi.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void)\n{\n"
    source += "\n".join(lines) + "\nreturn 0;\n}\n"
    directory = tmp_path_factory.mktemp("header")
    (directory / "measure.c").write_text(source)
    subprocess.run(
        ["cc", "-I", INCLUDE, directory / "measure.c", "-o", directory / "measure"], check=True
    )
    output = subprocess.run([directory / "measure"], check=True, capture_output=True, text=True).stdout
    return {name: int(number) for name, number in (line.split() for line in output.splitlines())}


def test_structures_have_the_layout_of_the_header(measured):
    assert len(structures()) > 15
    for kind in structures():
        assert ctypes.sizeof(kind) == measured[kind.__name__], kind
        for field, _ in kind._fields_:
            assert getattr(kind, field).offset == measured[f"{kind.__name__}.{field}"], (kind, field)


def test_constants_have_the_values_of_the_header(measured):
    assert len(constants()) > 100
    for name, value in constants().items():
        assert value % 2**64 == measured[name], name


def test_no_constant_of_the_header_is_missing():
    text = header_text()
    defined = re.findall(r"^\s*#\s*define\s+((?:DM|MAXDM)\w+)\s+\S", text, re.M)
    enumerated = re.findall(r"^\s*(DM_\w+)\s*(?:=[^,}]*)?[,}]?\s*$", text, re.M)
    wanted = {name for name in defined + enumerated if not SKIPPED_MACROS.match(name)}
    assert len(wanted) > 100
    assert wanted <= set(constants())


def test_functions_are_those_of_the_header():
    prototypes = re.findall(r"\b(dm_\w+)\s*\(([^()]*)\)\s*;", header_text())
    assert {name for name, _ in prototypes} == set(raw.PROTOTYPES)
    for name, arguments in prototypes:
        count = 0 if arguments.strip() in ("", "void") else len(arguments.split(","))
        assert count == len(raw.PROTOTYPES[name][1]), name


def test_the_library_has_every_function():
    for name in raw.PROTOTYPES:
        assert getattr(raw.library(), name)
