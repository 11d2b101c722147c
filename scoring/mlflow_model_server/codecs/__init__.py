"""Bodies of requests and responses, by MLflow's protocol and the Open Inference Protocol 2.

The latter is what KServe, MLServer and Triton speak: see
https://github.com/kserve/open-inference-protocol. With the extension for binary tensors:
https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_binary_data.html
"""
