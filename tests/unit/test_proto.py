"""The protobuf interface: its generated code can't drift, and it keeps the rules of buf's STANDARD."""

import re
import struct
from functools import cache
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from inversefacenet.v1.parameters_pb2 import FaceParameters
from scripts import generate_proto

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ROOT / "inversefacenet" / "v1"


@cache
def described(folder):
    """Compile the files, comments and imported files included."""
    target = folder / "interface.bin"
    generate_proto.compile_files(
        generate_proto.sources(),
        f"--descriptor_set_out={target}",
        "--include_source_info",
        "--include_imports",
    )
    return descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes()).file


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Our own files, compiled."""
    compiled = described(tmp_path_factory.mktemp("interface"))
    own = [file for file in compiled if file.name.startswith("inversefacenet/")]
    assert len(own) == len(generate_proto.sources()) == 7
    return own


def elements(file):
    """Yield each named element with its path as source locations count it."""

    def messages(found, path):
        for number, message in enumerate(found):
            at = (*path, number)
            if message.options.map_entry:
                continue
            yield at, message.name, message
            yield from fields(message, at)
            yield from enums(message.enum_type, (*at, 4))
            yield from messages(message.nested_type, (*at, 3))

    def fields(message, at):
        for number, field in enumerate(message.field):
            yield (*at, 2, number), f"{message.name}.{field.name}", field
        for number, oneof in enumerate(message.oneof_decl):
            if not oneof.name.startswith("_"):  # what the compiler makes of `optional`
                yield (*at, 8, number), f"{message.name}.{oneof.name}", oneof

    def enums(found, path):
        for number, enum in enumerate(found):
            yield (*path, number), enum.name, enum
            for place, value in enumerate(enum.value):
                yield (*path, number, 2, place), value.name, value

    yield from messages(file.message_type, (4,))
    yield from enums(file.enum_type, (5,))
    for number, service in enumerate(file.service):
        yield (6, number), service.name, service
        for place, method in enumerate(service.method):
            yield (6, number, 2, place), f"{service.name}.{method.name}", method


def kinds(files, kind):
    return [element for file in files for _, _, element in elements(file) if isinstance(element, kind)]


def test_the_generated_code_is_what_the_files_say(tmp_path):
    fresh = {path.name: path.read_bytes() for path in generate_proto.generate(tmp_path)}
    kept = {path.name: path.read_bytes() for path in GENERATED.glob("*_pb2*")}
    assert sorted(kept) == sorted(fresh)
    assert [name for name in fresh if kept[name] != fresh[name]] == [], "run scripts/generate_proto.py"


def test_everything_is_explained(files):
    silent = []
    for file in files:
        comments = {
            tuple(location.path): location.leading_comments for location in file.source_code_info.location
        }
        silent += [name for path, name, _ in elements(file) if not comments.get(path, "").strip()]
    assert silent == []


def test_files_lie_where_their_package_says(files):
    for file in files:
        assert file.package == "inversefacenet.v1"
        assert Path(file.name).parent.as_posix() == file.package.replace(".", "/")
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", Path(file.name).stem)
        assert file.syntax == "proto3"


def test_every_import_is_used(files):
    """Types say where they come from, so an import that no type needs is a leftover."""
    homes = {
        f".{file.package}.{name}": file.name
        for file in files
        for _, name, element in elements(file)
        if isinstance(element, descriptor_pb2.DescriptorProto | descriptor_pb2.EnumDescriptorProto)
    } | {
        ".google.rpc.Status": "google/rpc/status.proto",
        ".google.protobuf.Struct": "google/protobuf/struct.proto",
    }
    for file in files:
        named = {field.type_name for field in kinds([file], descriptor_pb2.FieldDescriptorProto)}
        for method in kinds([file], descriptor_pb2.MethodDescriptorProto):
            named |= {method.input_type, method.output_type}
        assert {homes[name] for name in named if name in homes} - {file.name} == set(file.dependency)


def test_enums_have_a_zero_that_means_nothing_and_prefixed_values(files):
    enums = kinds(files, descriptor_pb2.EnumDescriptorProto)
    assert len(enums) == 9
    for enum in enums:
        prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", enum.name).upper()
        assert enum.value[0].name == f"{prefix}_UNSPECIFIED"
        assert enum.value[0].number == 0
        for value in enum.value:
            assert re.fullmatch(rf"{prefix}(_[A-Z]+)+", value.name)
        assert [value.number for value in enum.value] == list(range(len(enum.value)))


def test_names_follow_the_style(files):
    for message in kinds(files, descriptor_pb2.DescriptorProto):
        assert re.fullmatch(r"([A-Z][a-z0-9]+)+", message.name)
    for field in kinds(files, descriptor_pb2.FieldDescriptorProto):
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", field.name)


def test_services_and_their_messages_are_named_after_their_methods(files):
    services = kinds(files, descriptor_pb2.ServiceDescriptorProto)
    assert sorted(service.name for service in services) == [
        "EditingService",
        "ModelService",
        "ReconstructionService",
        "RenderingService",
        "TrackingService",
    ]
    used = []
    for service in services:
        for method in service.method:
            assert method.input_type == f".inversefacenet.v1.{method.name}Request"
            assert method.output_type == f".inversefacenet.v1.{method.name}Response"
            used += [method.input_type, method.output_type]
    assert len(set(used)) == len(used) == 16


def test_numbers_travel_packed():
    message = FaceParameters(rotation=[1.0, 0.0, 0.0])
    assert message.SerializeToString() == b"\x0a\x0c" + struct.pack("<3f", 1, 0, 0)


def test_the_imported_status_is_the_one_that_grpc_uses(tmp_path):
    """The copy beside our files must describe what `grpcio-status` sends."""
    from google.rpc import status_pb2

    (copy,) = [file for file in described(tmp_path) if file.name == "google/rpc/status.proto"]
    installed = descriptor_pb2.FileDescriptorProto()
    status_pb2.DESCRIPTOR.CopyToProto(installed)
    for message in copy.message_type:
        for field in message.field:
            field.ClearField("json_name")  # protoc fills it in, the package's code leaves it out
    assert list(copy.message_type) == list(installed.message_type)


def test_a_file_that_is_wrong_is_refused(tmp_path):
    with pytest.raises(RuntimeError, match="refused"):
        generate_proto.compile_files(["inversefacenet/v1/missing.proto"], f"--python_out={tmp_path}")
