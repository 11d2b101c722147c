import sys
from .settings import read_settings
from .engine import ensure_engine
from .baseimage import ensure_base_image
s = read_settings()
e = ensure_engine(s)
print(ensure_base_image(s, e))
