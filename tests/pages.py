"""Interactive pages, read as their own program reads them."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path

import numpy as np


def read(page: Path) -> tuple[dict, list[np.ndarray]]:
    """Metadata of a page, and the values of its maps."""
    text = page.read_text("utf-8")
    head = json.loads(
        re.search(r'<script type="application/json" id="head">(.*)</script>', text)[1]
    )
    maps = []
    for n, entry in enumerate(head["maps"]):
        packed = re.search(rf'<script type="text/plain" id="map-{n}">(.*)</script>', text)[1]
        octets = np.frombuffer(zlib.decompress(base64.b64decode(packed)), np.uint8).astype(int)
        low, high = octets.reshape(2, *head["shape"])
        codes = low + 256 * high
        scaled = entry["low"] + (codes - 1) / 65534 * (entry["high"] - entry["low"])
        maps.append(np.where(codes == 0, np.nan, entry["width"] * np.sinh(scaled)))
    return head, maps
