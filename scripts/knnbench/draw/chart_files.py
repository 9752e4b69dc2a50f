"""Vega-Lite specifications as files: our font, our looks, and the same bytes for the same specification."""

import functools
import io
import tempfile
from pathlib import Path

import pikepdf
import vl_convert
from fontTools.ttLib import TTFont
from PIL import Image

from knnbench.draw.figures import matplotlib

FONT = "knnbench Sans"
# One weight of one font: the order of fonts in a PDF would be another one every time.
CONFIG = {
    "font": f"{FONT}, DejaVu Sans, Helvetica, Arial, sans-serif",
    "axis": {"labelFontSize": 10, "titleFontSize": 11, "titleFontWeight": "normal", "labelOverlap": "greedy", "tickCount": 6},
    "legend": {"labelFontSize": 10, "labelLimit": 260},
    "title": {"anchor": "start", "fontSize": 13, "subtitleFontSize": 10, "fontWeight": "normal"},
    "header": {"labelFontSize": 11},
}
# In place of a chart that has nothing to show.
NOTHING = {
    "data": {"values": [{}]},
    "mark": "text",
    "encoding": {"text": {"value": "no cell was measured"}},
    "width": 420,
    "height": 60,
}


@functools.cache
def register_font():
    """Let files have the DejaVu Sans of Matplotlib, by a name of its own: the machine may have another one, or none."""
    font = TTFont(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), recalcTimestamp=False)
    for record in font["name"].names:
        if record.nameID in (1, 3, 4, 16):
            record.string = FONT
        if record.nameID == 6:  # of PostScript, without spaces
            record.string = FONT.replace(" ", "")
    folder = tempfile.TemporaryDirectory()
    font.save(Path(folder.name, "font.ttf"))
    vl_convert.register_font_directory(folder.name)
    return folder  # which is kept as long as this process: the font is read whenever something is drawn


def draw_files(spec, paths, dpi):
    """Draw a specification, the same bytes for the same one; the suffix of a path is the format: .svg, .pdf or .png.

    All are made of one SVG, as vl-convert itself does: what takes long is to get there.
    """
    register_font()
    svg = vl_convert.vegalite_to_svg({"$schema": "https://vega.github.io/schema/vega-lite/v6.json", **spec})
    for path in paths:
        if path.suffix == ".svg":
            path.write_text(svg, encoding="utf-8")
        elif path.suffix == ".pdf":
            with pikepdf.open(io.BytesIO(vl_convert.svg_to_pdf(svg))) as pdf:
                pdf.save(path, static_id=True)  # its dictionaries are sorted, which come in another order every time
        else:
            image = Image.open(io.BytesIO(vl_convert.svg_to_png(svg, ppi=dpi)))
            image.save(path, dpi=(dpi, dpi))  # a fifth of its size
