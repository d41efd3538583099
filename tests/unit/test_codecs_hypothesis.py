"""What is written can be read back, and what can't be read is refused: for any content, not for examples."""

import asyncio
import base64
import email.parser
import email.policy
import json
import math
from types import SimpleNamespace

import msgpack
import numpy as np
import pytest
from fastapi.exceptions import RequestValidationError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from starlette.requests import Request

from inversefacenet.confidence import quality_block
from inversefacenet.errors import ImageError, InputError, InverseFaceNetError
from inversefacenet.metrics import Quality
from inversefacenet.parameters import GROUPS, PARAMETER_COUNT, Parameters
from inversefacenet.v1 import reconstruction_pb2, rendering_pb2
from services.gateway.access import read_key
from services.gateway.answers import FaceResult, File, PhotoAnswer
from services.gateway.batches import BatchResult, join
from services.gateway.body import BodyKind, kind_of, read_form
from services.gateway.calls import Call
from services.gateway.context import begin_request
from services.gateway.deadline import Deadline
from services.gateway.encodings import encode, short
from services.gateway.errors import NotAcceptableError, QuotaError, UnauthenticatedError
from services.gateway.grpc_requests import parse, photo_job, render_job
from services.gateway.jobs import Answered, Form, Output, PhotoJob
from services.gateway.landmark_input import landmarks_of
from services.gateway.negotiation import ANSWER_OFFERS, RECONSTRUCTION_OFFERS, RENDERING_OFFERS, choose
from services.gateway.photo_requests import read_model
from services.gateway.pipeline import Pipeline
from services.gateway.problems import problem_of
from services.gateway.quota import TokenBucket
from services.gateway.request_schemas import BatchBody, PhotoBody, RenderingBody
from services.gateway.schemas import FaceModelInfo, ModelInfo, ReconstructionAnswer
from services.gateway.settings import Settings
from services.gateway.uploads import Uploads

# The same in every run; other examples are the business of `make fuzz`.
quick = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
many = settings(quick, max_examples=150)

singles = st.floats(width=32, allow_nan=False, allow_infinity=False)
numbers = st.floats(-1e6, 1e6)
single_arrays = lambda *shape: arrays(np.float32, shape, elements=singles, fill=singles)  # noqa: E731
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)

MODEL = ModelInfo(
    name="inversefacenet",
    version="1",
    digest="a" * 64,
    backend="onnxruntime",
    face_model=FaceModelInfo(name="a face", digest="b" * 64),
)


class refused:  # noqa: N801
    """Holds the error that a block has ended with, if it is one of those that it may end with."""

    def __init__(self, *errors):
        self._errors = errors
        self.error = None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        self.error = error
        return isinstance(error, self._errors)


def files(media_type, form, size):
    contents = st.binary(max_size=200)
    return st.none() | st.builds(
        lambda content: File(f"one.{form}", content, media_type, form, size), contents
    )


qualities = st.builds(
    quality_block,
    st.builds(Quality, numbers, numbers, numbers, numbers, numbers | st.just(math.nan), numbers),
    st.just(math.nan) | st.floats(0, 1),
)
faces = st.builds(
    FaceResult,
    box=st.tuples(numbers, numbers, numbers, numbers),
    score=st.none() | numbers,
    landmarks=st.none() | single_arrays(68, 2),
    parameters=single_arrays(PARAMETER_COUNT).map(Parameters.from_vector),
    quality=qualities,
    camera_distance=numbers,
    scale=numbers,
    offset=st.tuples(numbers, numbers),
    crop_scale=numbers,
    crop_offset=st.tuples(numbers, numbers),
    mesh=files("model/gltf-binary", "glb", None),
    rendering=files("image/png", "png", (3, 4)),
)
answers = st.builds(
    PhotoAnswer,
    id=st.text("0123456789abcdef", min_size=1, max_size=32),
    model=st.just(MODEL),
    size=st.tuples(st.integers(1, 9999), st.integers(1, 9999)),
    faces=st.lists(faces, min_size=1, max_size=2),
    truncated=st.booleans(),
    overlay=files("image/png", "png", (3, 4)),
    timings_ms=st.dictionaries(st.text("abc", min_size=1), numbers, max_size=3),
)


def check_tree(tree, answer, *, exact):
    """Compare what was read with the answer; `exact` numbers come back as they were, others as float32."""
    assert tree["id"] == answer.id
    assert (tree["image"]["width"], tree["image"]["height"]) == answer.size
    assert tree["truncated"] == answer.truncated
    for read, face in zip(tree["faces"], answer.faces, strict=True):
        parameters = Parameters.from_dict(read["parameters"])
        np.testing.assert_array_equal(parameters.vector(), face.parameters.vector())
        if face.landmarks is None:
            assert "landmarks68" not in read
        else:
            np.testing.assert_array_equal(np.array(read["landmarks68"], np.float32), face.landmarks)
        tolerance = 0 if exact else 1e-6
        np.testing.assert_allclose(list(read["box"].values()), face.box, rtol=tolerance, atol=1e-40)
        assert set(read["quality"]) == set(face.quality)
        assert read["quality"].get("verdict") == face.quality.get("verdict")
        assert ("score" in read) == (face.score is not None)


@quick
@given(answers)
def test_json_comes_back(answer):
    content, media_type = encode(answer, Output(form=Form.JSON))
    assert media_type == "application/json"
    tree = json.loads(content, parse_constant=pytest.fail)
    check_tree(tree, answer, exact=True)
    read = ReconstructionAnswer.model_validate_json(content)
    meshes = [face.mesh and base64.b64decode(face.mesh.base64) for face in read.faces]
    assert meshes == [face.mesh and face.mesh.content for face in answer.faces]


@quick
@given(answers)
def test_msgpack_comes_back(answer):
    content, _ = encode(answer, Output(form=Form.MSGPACK))
    tree = msgpack.unpackb(content)
    check_tree(tree, answer, exact=False)
    if answer.overlay is not None:
        assert tree["overlay"]["content"] == answer.overlay.content


@quick
@given(answers)
def test_multipart_comes_back(answer):
    content, media_type = encode(answer, Output(form=Form.MULTIPART))
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
        f"Content-Type: {media_type}\r\n\r\n".encode() + content
    )
    first, *others = message.iter_parts()
    check_tree(json.loads(first.get_payload(decode=True)), answer, exact=True)
    assert [part.get_payload(decode=True) for part in others] == [file.content for file in answer.files()]


@quick
@given(answers)
def test_protobuf_comes_back(answer):
    content, _ = encode(answer, Output(form=Form.PROTOBUF))
    read = reconstruction_pb2.ReconstructResponse.FromString(content)
    assert (read.id, read.truncated, dict(read.timings_ms)) == (
        answer.id,
        answer.truncated,
        answer.timings_ms,
    )
    for one, face in zip(read.faces, answer.faces, strict=True):
        groups = [np.array(getattr(one.parameters, name), np.float32) for name in GROUPS]
        np.testing.assert_array_equal(np.concatenate(groups), face.parameters.vector())
        assert one.HasField("score") == (face.score is not None)
        assert one.quality.HasField("landmark") == ("landmark" in face.quality)
        assert one.quality.HasField("confidence") == ("confidence" in face.quality)
        word = reconstruction_pb2.Verdict.Name(one.quality.verdict).removeprefix("VERDICT_").lower()
        assert word == face.quality.get("verdict", "unspecified")
        assert one.mesh.content == (face.mesh.content if face.mesh else b"")
        known = np.zeros(0) if face.landmarks is None else face.landmarks.ravel()
        np.testing.assert_array_equal(np.array(one.landmarks68, np.float32), known)


@quick
@given(st.lists(st.none() | answers, min_size=1, max_size=4), st.text(max_size=10))
def test_batches_come_back(outcomes, name):
    """None stands for a photo that couldn't be answered."""

    def results(form):
        for answer in outcomes:
            problem = problem_of(InputError("It is no photo."))
            yield BatchResult(
                name, problem if answer is None else Answered(*encode(answer, Output(form=form)))
            )

    readers = {Form.JSON: json.loads, Form.MSGPACK: msgpack.unpackb}
    for form, read in readers.items():
        content, _ = join(list(results(form)), form)
        found = read(content)["results"]
        assert [entry["index"] for entry in found] == list(range(len(outcomes)))
        for entry, answer in zip(found, outcomes, strict=True):
            assert entry.get("name", "") == name
            assert ("problem" in entry, "reconstruction" in entry) == (answer is None, answer is not None)
            if answer is not None:
                check_tree(entry["reconstruction"], answer, exact=form is Form.JSON)


@many
@given(arrays(np.float32, st.integers(0, 20), elements=singles))
def test_short_decimals_are_the_same_numbers(values):
    np.testing.assert_array_equal(np.array(short(values), np.float32), values)
    np.testing.assert_array_equal(np.array(json.loads(json.dumps(short(values))), np.float32), values)


@quick
@given(single_arrays(PARAMETER_COUNT))
def test_parameters_come_back_from_json(vector):
    written = json.dumps(Parameters.from_vector(vector).to_dict())
    np.testing.assert_array_equal(Parameters.from_dict(json.loads(written)).vector(), vector)


tokens = st.text('abcdefghijklmnopqrstuvwxyz*/;,=. q0123456789"\t', max_size=60)
ranges = st.sampled_from(
    [name for offer in RECONSTRUCTION_OFFERS for name in (offer.media_type, *offer.aliases)]
    + ["*/*", "image/*", "text/html", "application/*"]
)
weights = st.floats(0, 1).map(lambda quality: f"{quality:.3f}")
accepts = st.lists(st.builds("{};q={}".format, ranges, weights), max_size=4).map(", ".join)


@many
@given(st.text(max_size=80) | tokens | accepts, st.sampled_from((ANSWER_OFFERS, RENDERING_OFFERS)))
def test_negotiation_chooses_an_offer_or_says_that_there_is_none(accept, offers):
    try:
        offer, name = choose(accept, offers)
    except NotAcceptableError:
        return
    assert offer in offers
    assert name in (offer.media_type, *offer.aliases)


@many
@given(ranges.filter(lambda name: "*" not in name and name != "text/html"), accepts)
def test_nothing_beats_what_is_wanted_most(name, others):
    """Other ranges have lower weights, or this one stands before none."""
    rest = ",".join(part.replace(";q=1.000", ";q=0.999") for part in others.split(","))
    kept = ",".join(part for part in rest.split(",") if not part.strip().startswith(name))
    assert choose(f"{kept}, {name}", RECONSTRUCTION_OFFERS)[1] == name


@many
@given(json_values)
def test_landmarks_of_any_json_are_points_or_a_value_error(value):
    try:
        found = landmarks_of(value)
    except ValueError:
        return
    assert all(points.shape == (68, 2) and points.dtype == np.float32 for points in found)


@many
@given(
    st.binary(max_size=80) | json_values.map(lambda value: json.dumps(value).encode()),
    st.sampled_from((PhotoBody, BatchBody, RenderingBody)),
)
def test_any_json_text_is_a_request_or_refused(content, model):
    try:
        read = read_model(model, content)
    except RequestValidationError as error:
        problem = problem_of(error)
        assert problem.status == 422
        json.dumps(problem.model_dump())
        return
    assert isinstance(read, model)


@many
@given(st.binary(max_size=200), st.sampled_from(("photo", "render")))
def test_any_bytes_are_a_message_or_refused(content, kind):
    options = Settings(_env_file=None)
    with refused(InverseFaceNetError) as refusal:
        if kind == "photo":
            request = parse(reconstruction_pb2.ReconstructRequest, content)
            assert isinstance(photo_job(request, request.content, options, "id"), PhotoJob)
        else:
            render_job(parse(rendering_pb2.RenderRequest, content), "id")
    assert refusal.error is None or refusal.error.http_status < 500


messages = st.builds(
    reconstruction_pb2.ReconstructRequest,
    content=st.binary(max_size=20),
    crop=st.booleans(),
    faces=st.integers(-1, 4),
    minimum_size=st.none() | st.floats(width=32),
    parts=st.lists(st.integers(-1, 9), max_size=5),
    picture_size=st.none() | st.integers(0, 4000),
    landmarks=st.lists(
        st.builds(
            reconstruction_pb2.Landmarks68,
            points=st.lists(st.floats(width=32), max_size=3)
            | st.just([1.0] * 136)
            | st.just([math.nan] * 136),
        ),
        max_size=2,
    ),
)


@many
@given(messages)
def test_a_photo_message_becomes_a_job_within_the_limits_or_is_refused(message):
    read = parse(reconstruction_pb2.ReconstructRequest, message.SerializeToString())
    assert read == message or message != message
    try:
        job = photo_job(read, read.content, Settings(_env_file=None), "id")
    except InputError:
        return
    assert 16 <= job.output.size <= 2048
    assert job.minimum_size is None or job.minimum_size > 0
    assert all(np.isfinite(points).all() and points.shape == (68, 2) for points in job.landmarks or ())


def form_bytes(fields, photos, boundary):
    """Write a form as browsers do."""
    begin = f"--{boundary}\r\nContent-Disposition: form-data; name=".encode()
    parts = [begin + f'"{name}"\r\n\r\n'.encode() + value.encode() + b"\r\n" for name, value in fields]
    parts += [begin + b'"photo"; filename="f"\r\n\r\n' + content + b"\r\n" for content in photos]
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


def posted(content, content_type, limit, chunk):
    """Return a call whose body arrives in pieces."""
    pieces = [content[at : at + chunk] for at in range(0, len(content), chunk)] or [b""]
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages[-1]["more_body"] = False

    async def receive():
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    headers = [(b"content-type", content_type.encode("latin-1", "replace"))]
    request = Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)
    options = Settings(_env_file=None, max_body_bytes=limit)
    gateway = SimpleNamespace(settings=options, uploads=Uploads(1))
    return Call(request, gateway, None, 20.0, Deadline.after(20.0))


names = st.text("abcdefghij_", min_size=1, max_size=8).filter(lambda name: name != "photo")
texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)


@quick
@given(
    st.lists(st.tuples(names, texts), max_size=4),
    st.lists(st.binary(max_size=100), min_size=1, max_size=3),
    st.integers(1, 300),
)
def test_forms_come_back_however_they_arrive(fields, photos, chunk):
    content = form_bytes(fields, photos, "line")
    call = posted(content, "multipart/form-data; boundary=line", 1 << 20, chunk)
    form = asyncio.run(read_form(call, 3))
    assert [photo for _, photo in form.photos] == photos
    expected = {}
    for name, value in fields:
        expected.setdefault(name, []).append(value)
    assert form.fields == expected


@quick
@given(st.binary(max_size=200), st.text(max_size=30), st.integers(1, 300))
def test_any_bytes_are_a_form_or_refused(content, boundary, chunk):
    call = posted(content, f"multipart/form-data; boundary={boundary}", 1 << 20, chunk)
    with pytest.raises(InputError):
        asyncio.run(read_form(call, 3))


@many
@given(st.text(max_size=60) | tokens)
def test_any_content_type_is_known_or_refused(content_type):
    call = posted(b"", content_type, 1 << 20, 10)
    with refused(InputError) as refusal:
        assert kind_of(call.request, tuple(BodyKind)) in BodyKind
    assert refusal.error is None or refusal.error.http_status == 415


@many
@given(st.binary(max_size=60) | st.binary(max_size=60).map(base64.b64encode))
def test_base64_is_read_or_refused(text):
    """A photo whose text can be decoded fails as the image that it isn't, in the same tree."""
    job = PhotoJob(text, base64=True, crop=True)
    with pytest.raises(ImageError) as caught:
        Pipeline(None, MODEL).prepare(job)
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        assert "base64" in str(caught.value)
    else:
        assert "base64" not in str(caught.value)


@many
@given(st.text(max_size=200))
def test_request_ids_are_taken_over_only_if_they_are_harmless(offered):
    taken = begin_request(offered).request_id
    assert taken.isascii()
    assert taken.isprintable()
    assert " " not in taken
    assert 0 < len(taken) <= 128


@many
@given(
    st.dictionaries(
        st.sampled_from(("authorization", "x-api-key")), st.text(max_size=40) | st.binary(max_size=40)
    )
)
def test_any_headers_hold_a_key_or_none(headers):
    try:
        key = read_key(headers)
    except UnauthenticatedError:
        return
    assert key is None or (key and key == key.strip())


@many
@given(
    st.floats(0.5, 600),
    st.integers(1, 50),
    st.lists(st.tuples(st.floats(0, 30), st.integers(1, 10)), max_size=40),
)
def test_a_quota_never_gives_more_than_it_promises(rate, burst, requests):
    now = 0.0
    bucket = TokenBucket(rate, burst, clock=lambda: now)
    taken = 0
    for pause, photos in requests:
        now += pause
        with refused(QuotaError, InputError) as refusal:
            bucket.take(photos)
            taken += photos
        assert isinstance(refusal.error, InputError) == (photos > burst)
        assert not isinstance(refusal.error, QuotaError) or refusal.error.retry_after > 0
        assert taken <= burst + now * rate / 60 + 1e-3
