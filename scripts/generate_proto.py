"""Writes `inversefacenet/v1` from `proto/`; run it after a change there."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROTO = ROOT / "proto"
PACKAGE = Path("inversefacenet") / "v1"


def sources() -> list[str]:
    """Return the project's own protobuf files, relative to `proto/`."""
    return sorted(path.relative_to(PROTO).as_posix() for path in (PROTO / PACKAGE).glob("*.proto"))


def compile_files(files: Sequence[str], *options: str) -> None:
    """Run the protobuf compiler.

    Args:
        files: What to compile, relative to `proto/`.
        options: What to make of it, as protoc's own options.

    Raises:
        RuntimeError: If it refuses a file; it has said why on standard error.
    """
    import grpc_tools
    from grpc_tools import protoc

    arguments = [
        "protoc",
        f"--proto_path={PROTO}",
        f"--proto_path={Path(grpc_tools.__file__).parent / '_proto'}",
        f"--proto_path={google_files()}",
        *(f"--plugin={name}={_program(name)}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")),
        *options,
        *files,
    ]
    if protoc.main(arguments) != 0:
        raise RuntimeError(f"The protobuf compiler refused one of {', '.join(files)}.")


def google_files() -> Path:
    """Return where googleapis-common-protos keeps the `google/rpc/status.proto` that our files import."""
    from google.rpc import status_pb2

    return Path(status_pb2.__file__).resolve().parents[2]


def lint(buf: str) -> int:
    """Check the files by buf's rules, with what they import beside them; returns its exit status."""
    imported = Path("google") / "rpc" / "status.proto"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "proto"
        shutil.copytree(PROTO, copy)
        (copy / imported).parent.mkdir(parents=True)
        shutil.copy(google_files() / imported, copy / imported)
        return subprocess.run(
            ["npx", "--yes", f"@bufbuild/buf@{buf}", "lint", str(copy)], check=False
        ).returncode


def generate(output: Path) -> list[Path]:
    """Write the Python code of all messages and services, and its types.

    Args:
        output: Existing folder that gets `inversefacenet/v1`.

    Returns:
        The files that were written.

    Raises:
        RuntimeError: If the compiler refuses a file.
    """
    files = sources()
    with_services = [name for name in files if "\nservice " in (PROTO / name).read_text()]
    compile_files(files, f"--python_out={output}", f"--mypy_out=quiet:{output}")
    compile_files(with_services, f"--grpc_python_out={output}", f"--mypy_grpc_out=quiet:{output}")
    return sorted((output / PACKAGE).glob("*_pb2*.py*"))


def _program(name: str) -> Path:
    """Return where a program of mypy-protobuf lies, which need not be on the search path."""
    for file in distribution("mypy-protobuf").files or ():
        if file.name in (name, f"{name}.exe"):
            return Path(str(file.locate())).resolve()
    raise RuntimeError(f"mypy-protobuf came without {name}: install it again.")


def main() -> int:
    """Generate, and say how many files were written; or check only."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lint", metavar="VERSION", help="check with this version of buf instead; needs npx")
    options = parser.parse_args()
    if options.lint:
        return lint(options.lint)
    for stale in (ROOT / PACKAGE).glob("*_pb2*.py*"):
        stale.unlink()
    print(f"files={len(generate(ROOT))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
