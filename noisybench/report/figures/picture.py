"""One picture: what it shows in words, and how it is painted."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from noisybench.report.figures.style import FACE, SHADES, rc_params


@dataclass(frozen=True)
class Picture:
    """``title`` heads it, ``text`` says how to read it. ``size`` in inches; ``paint`` fills a matplotlib figure."""

    name: str
    title: str
    text: str
    size: tuple[float, float]
    paint: Callable[[Any], None]

    def renamed(self, name: str) -> Picture:
        """The same picture under another name."""
        return replace(self, name=name)

    def svg(self) -> str:
        """A file of its own: dark where its viewer prefers dark, otherwise and on paper light."""
        return _standalone(self._described(_trim(self._save("svg").decode())))

    def inline(self) -> str:
        """For a page: no prolog, identifiers that no other picture has, colours as the page's variables."""
        text = self._described(_trim(self._save("svg").decode()))
        for colour, (variable, _) in SHADES.items():
            text = text.replace(colour, f"var(--{variable})")
        return text

    def png(self, dpi: int = 150) -> bytes:
        """Light, on white."""
        return self._save("png", dpi)

    def _save(self, form: str, dpi: int = 72) -> bytes:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        with matplotlib.rc_context(), warnings.catch_warnings():
            matplotlib.rcdefaults()  # a user's matplotlibrc must not show
            matplotlib.rcParams.update(rc_params())
            warnings.simplefilter("ignore", UserWarning)  # a letter that the font lacks is still in the SVG
            figure = Figure(figsize=self.size, layout="constrained")
            self.paint(figure)
            buffer = io.BytesIO()
            if form == "svg":  # not savefig, which draws everything twice
                canvas: Any = FigureCanvasSVG(figure)
                canvas.print_svg(buffer, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
            else:
                figure.savefig(buffer, format=form, dpi=dpi, facecolor="white", metadata={"Software": None})
        return buffer.getvalue()

    def _described(self, text: str) -> str:
        """With title and description for those who do not see it, and identifiers made this picture's own."""
        used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))
        text = re.sub(r' id="([^"]+)"', lambda m: f' id="{self.name}-{m[1]}"' if m[1] in used else "", text)
        text = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{self.name}-", text)
        start, end = text.index("<svg"), text.index(">", text.index("<svg"))
        words = f'<title id="{self.name}-t">{html.escape(self.title)}</title>'
        words += f'<desc id="{self.name}-d">{html.escape(self.text)}</desc>'
        named = f' role="img" aria-labelledby="{self.name}-t" aria-describedby="{self.name}-d"'
        return f"{text[start:end]}{named}>{words}{text[end + 1 :]}"


def _trim(text: str) -> str:
    """Without prolog, metadata and comments (they hold names), with a font that is there on most machines."""
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = text[text.index("<svg") :].replace(f"'{FACE}'", f"'{FACE}', Verdana, sans-serif")
    return re.sub(r"\n\s*\n+", "\n", re.sub(r"[ \t]+\n", "\n", text))


def _standalone(text: str) -> str:
    rules = "".join(
        f'[style*="fill: {colour}"]{{fill:{dark}!important}}[style*="stroke: {colour}"]{{stroke:{dark}!important}}'
        for colour, (_, dark) in SHADES.items()
    )
    style = f"<style>@media screen and (prefers-color-scheme: dark){{{rules}}}</style>"
    end = text.index("</desc>") + len("</desc>")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text[:end]}{style}{text[end:]}'
