"""From training to the device: SavedModel, TF-Lite, streaming and NIR."""

from keras_egru.export.nir_graph import NIRReport, to_nir
from keras_egru.export.nir_model import from_nir, read_nir
from keras_egru.export.report import ExportReport
from keras_egru.export.saved_model import load_saved_model, to_saved_model
from keras_egru.export.streaming import StreamingModel
from keras_egru.export.tflite import to_tflite

__all__ = [
    "ExportReport",
    "NIRReport",
    "StreamingModel",
    "from_nir",
    "load_saved_model",
    "read_nir",
    "to_nir",
    "to_saved_model",
    "to_tflite",
]
