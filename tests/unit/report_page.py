"""A page of the report as tests look at it."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """What a test asks of a page: its elements with their attributes, and the text below them."""

    def __init__(self, path: Path):
        super().__init__()
        self.folder, self.elements, self.open = path.parent, [], []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        self.handle_data(" ")  # cells and captions that follow each other are words apart
        element = {"tag": tag, "text": "", "in": [e["tag"] for e in self.open], **dict(attributes)}
        self.elements.append(element)
        if tag not in ("meta", "link", "img"):
            self.open.append(element)

    def handle_endtag(self, tag):
        while self.open.pop()["tag"] != tag:
            pass

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, tag, **attributes):
        names = {key.strip("_"): value for key, value in attributes.items()}
        return [
            e
            for e in self.elements
            if e["tag"] == tag and all(value in (e.get(key) or "") for key, value in names.items())
        ]

    def text(self, tag, **attributes):
        return [" ".join(e["text"].split()) for e in self.all(tag, **attributes)]
