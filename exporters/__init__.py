"""What leaves in another format: ONNX files, Prometheus metrics."""
