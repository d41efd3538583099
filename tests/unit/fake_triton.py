"""A gRPC server in this process that speaks Triton's protocol and does as a test tells it."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

DIGEST = "ab" * 32
CONFIG = f"""
name: "inversefacenet" backend: "python" max_batch_size: 3
input [ {{ name: "crops" data_type: TYPE_UINT8 dims: [ 240, 240, 3 ] }} ]
output [ {{ name: "parameters" data_type: TYPE_FP32 dims: [ 350 ] }} ]
parameters {{ key: "onnx_sha256" value {{ string_value: "{DIGEST}" }} }}
"""


def mean_levels(crops):
    """Answer each crop's mean level many times over."""
    return np.repeat(crops.mean(axis=(1, 2, 3), dtype=np.float64)[:, None], 350, axis=1).astype(np.float32)


class FakeTriton(service_pb2_grpc.GRPCInferenceServiceServicer):
    """The server.

    Attributes:
        config: What it says of its model.
        versions: Versions that it says are loaded; the last one answers.
        answer: Turns crops into parameters.
        failure: Status and message of all inferences, if there is one.
        refuses_regions: Status and message of all registrations of shared memory, if there is one.
        hangs: Whether inferences never end.
        hangs_describing: Whether questions for the configuration are never answered.
        keeps_quiet: How many registrations of shared memory are done but not answered.
        sizes: Crops of each request so far.
        requests: The requests.
        metadata: Each request's metadata.
        remaining: Seconds that each request's caller still waits.
        cancelled: Requests that ended unanswered.
        descriptions: How often it was asked for the configuration.
        regions: Registered shared memory: name to key.
    """

    def __init__(self):
        self.config = text_format.Parse(CONFIG, model_config_pb2.ModelConfig())
        self.versions = ["1"]
        self.answer = mean_levels
        self.failure = None
        self.refuses_regions = None
        self.hangs = self.hangs_describing = False
        self.keeps_quiet = 0
        self.sizes, self.requests, self.metadata, self.remaining = [], [], [], []
        self.cancelled = 0
        self.descriptions = 0
        self.regions = {}

    async def ModelConfig(self, request, context):  # noqa: N802
        self.descriptions += 1
        if self.hangs_describing:
            await asyncio.Event().wait()
        return service_pb2.ModelConfigResponse(config=self.config)

    async def ModelMetadata(self, request, context):  # noqa: N802
        return service_pb2.ModelMetadataResponse(name=request.name, versions=self.versions)

    async def ModelInfer(self, request, context):  # noqa: N802
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        self.remaining.append(context.time_remaining())
        if self.hangs:
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled += 1
        if self.failure:
            await context.abort(*self.failure)
        (tensor,) = request.inputs
        count = tensor.shape[0]
        self.sizes.append(count)
        name = tensor.parameters["shared_memory_region"].string_param
        if not name:
            content = request.raw_input_contents[0]
        elif name in self.regions:
            content = self._shared(self.regions[name], tensor.parameters)
        else:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Unable to find shared memory region: '{name}'")
        crops = np.frombuffer(content, np.uint8).reshape(count, 240, 240, 3)
        answers = self.answer(crops)
        return service_pb2.ModelInferResponse(
            model_name=request.model_name,
            model_version=request.model_version or self.versions[-1],
            outputs=[{"name": "parameters", "datatype": "FP32", "shape": answers.shape}],
            raw_output_contents=[answers.tobytes()],
        )

    async def SystemSharedMemoryRegister(self, request, context):  # noqa: N802
        if self.refuses_regions:
            await context.abort(*self.refuses_regions)
        if request.name in self.regions:
            await context.abort(
                grpc.StatusCode.ALREADY_EXISTS,
                f"shared memory region '{request.name}' already in manager",
            )
        self.regions[request.name] = request.key
        if self.keeps_quiet:
            self.keeps_quiet -= 1
            await asyncio.Event().wait()
        return service_pb2.SystemSharedMemoryRegisterResponse()

    async def SystemSharedMemoryUnregister(self, request, context):  # noqa: N802
        self.regions.pop(request.name, None)
        return service_pb2.SystemSharedMemoryUnregisterResponse()

    def _shared(self, key, parameters):
        first = parameters["shared_memory_offset"].int64_param
        with open(f"/dev/shm{key}", "rb") as memory:
            memory.seek(first)
            return memory.read(parameters["shared_memory_byte_size"].int64_param)


@asynccontextmanager
async def serving(fake, most_bytes=-1, credentials=None):
    """Serve on a port that the system chooses, over TLS with credentials; gives its address."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", most_bytes)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(fake, server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
