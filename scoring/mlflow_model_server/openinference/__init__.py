"""The Open Inference Protocol, version 2, over REST: what KServe, MLServer and Triton speak.

See https://github.com/kserve/open-inference-protocol. With the extension for binary tensors:
https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_binary_data.html
"""
