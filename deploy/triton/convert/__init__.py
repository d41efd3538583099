"""TensorRT plans from the network's ONNX file; runs in Triton's container, beside the GPU it is for."""
