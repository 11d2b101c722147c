"""scikit-learn models that are predicted by ONNX Runtime, where that answers as the model does."""
