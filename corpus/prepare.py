#!/usr/bin/env python3
"""Makes corpus/{english,technical,chinese}.jsonl.gz, the text that is embedded in reseek.

The output is committed, so nobody needs this script to build or run reseek. It is here so that every byte of the
corpus can be traced to a published package and made again. What it reads:

  apt      r-cran-janeaustenr 1.0.0-1   (apt-get download)  six novels of Jane Austen
  apt      sword-text-web 426.0-1       (apt-get download)  World English Bible
  rustup   rust-docs of Rust 1.95.0     (share/doc/rust/html under `rustc --print sysroot`)  the Book, the Reference
  npm      chinese-poetry 2.0.1         (npm pack)          songci and yuanqu, in simplified characters
  pip      rdata 1.1.0, pysword 0.2.8   the two decoders

  python3 prepare.py --packages FOLDER_WITH_THE_DEB_AND_TGZ_FILES --rust-docs FOLDER_OF_THE_HTML

One line of the output is one document: {"text": ..., "source": "collection/title/part"}. Lines are in reading order,
exact and near-exact copies (equal after dropping all but letters and digits) are removed, and the gzip header holds no
time and no name, so the same inputs give the same bytes (with the same zlib).
"""

import argparse
import glob
import gzip
import hashlib
import html.parser
import json
import os
import re
import struct
import subprocess
import tarfile
import tempfile
import unicodedata
import zlib

# A document is some paragraphs of one chapter, at most about this many bytes: a few windows of the smallest model.
DOCUMENT_BYTES_MAX = 3600
DOCUMENT_BYTES_MIN = 160

# The Bible and the poems are larger than their share of the corpus. Whole books and plays, or poems by hash, are kept.
BIBLE_BOOKS = [
    "Genesis", "Exodus", "Ruth", "I Samuel", "II Samuel", "Esther", "Proverbs", "Ecclesiastes", "Jonah",
    "Tobit", "Judith", "Matthew", "Mark", "Luke", "John", "Acts",
]
SONGCI_KEEP = 0.33
YUANQU_KEEP = 0.33


# ---------------------------------------------------------------------------------------------------------- cleaning

def clean(text):
    """NFC, no control characters, no replacement characters, no trailing blanks, at most one empty line."""
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n").replace("\u00a0", " ")
    text = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Co", "Cs", "Cn"))
    text = text.replace("\ufffd", "").replace("\u21a9", "").replace("\t", "    ")
    text = re.sub(r"[ ]+\n", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def group(paragraphs, head=""):
    """Joins whole paragraphs into documents of at most DOCUMENT_BYTES_MAX; a longer one is cut after a sentence."""
    out, size = [], 0
    for paragraph in (piece for whole in paragraphs for piece in cut(whole)):
        length = len(paragraph.encode())
        if not out or size + length > DOCUMENT_BYTES_MAX:
            out.append([head] if head and not out else [])
            size = 0
        out[-1].append(paragraph)
        size += length + 2
    return ["\n\n".join(p for p in parts if p) for parts in out]


def cut(paragraph):
    """The paragraph in pieces that fit a document, cut at the last line or sentence end that fits; code stays whole."""
    while len(paragraph.encode()) > DOCUMENT_BYTES_MAX and "```" not in paragraph:
        ends = [m.end() for m in re.finditer(r"\n|[.!?;][\"”’]*\s|[。！？]", paragraph)]
        ends = [end for end in ends if len(paragraph[:end].encode()) <= DOCUMENT_BYTES_MAX]
        if not ends:
            break
        yield paragraph[:ends[-1]].strip()
        paragraph = paragraph[ends[-1]:].strip()
    yield paragraph


def share(key):
    """A number in [0, 1) that depends on the key alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2.0**64


# ------------------------------------------------------------------------------------------------------- Jane Austen

NOVELS = {
    "sensesensibility": "sense-and-sensibility", "prideprejudice": "pride-and-prejudice",
    "mansfieldpark": "mansfield-park", "emma": "emma", "northangerabbey": "northanger-abbey",
    "persuasion": "persuasion",
}
CHAPTER = re.compile(r"^\s*(CHAPTER|Chapter)\s+([IVXLC]+|\d+)\s*\.?\s*$")
VOLUME = re.compile(r"^\s*(VOLUME|Volume)\s+([IVX]+|\d+)\s*$|^\s*(FINIS|THE END|Finis)\s*\.?\s*$")


def austen(root):
    """R keeps a package's data in a lazy-load base: an index (.rdx) of offsets into zlib segments (.rdb)."""
    import rdata

    base = os.path.join(root, "usr/lib/R/site-library/janeaustenr/data/Rdata")
    index = rdata.conversion.convert(rdata.parser.parse_data(gzip.open(base + ".rdx").read()))
    with open(base + ".rdb", "rb") as file:
        database = file.read()
    for variable, name in NOVELS.items():
        offset, length = (int(v) for v in index["variables"][variable])
        segment = database[offset:offset + length]
        raw = zlib.decompress(segment[4:])
        assert len(raw) == struct.unpack(">I", segment[:4])[0]
        lines = rdata.conversion.convert(rdata.parser.parse_data(raw), default_encoding="utf-8")
        yield from novel(name, [str(line) for line in lines])


def novel(name, lines):
    """Drops the title page, unwraps hard line breaks, removes the underscores that mark italics."""
    chapters, paragraph = [], []
    for line in lines + [""]:
        if CHAPTER.match(line):
            chapters.append([])
        elif not line.strip():
            if paragraph and chapters:
                chapters[-1].append(" ".join(paragraph))
            paragraph = []
        elif not VOLUME.match(line):
            paragraph.append(re.sub(r" {2,}", " ", line.strip()))
    for number, chapter in enumerate(chapters, 1):
        for text in group([p.replace("_", "") for p in chapter], f"Chapter {number}"):
            yield {"text": text, "source": f"austen/{name}/{number}"}


# ------------------------------------------------------------------------------------------------------------- Bible

def bible(root):
    from pysword.modules import SwordModules

    modules = SwordModules(os.path.join(root, "usr/share/sword"))
    names = modules.parse_modules()
    text = modules.get_bible_from_module(next(iter(names)))
    for books in text.get_structure().get_books().values():
        for book in books:
            if book.name not in BIBLE_BOOKS:
                continue
            for chapter in range(1, book.num_chapters + 1):
                verses = text.get_iter(books=[book.name], chapters=[chapter], clean=False)
                prose = verse_text("".join(verses))
                for part in group([p for p in prose.split("\n\n") if p], f"{book.name} {chapter}"):
                    yield {"text": part, "source": f"bible/{book.name.lower().replace(' ', '-')}/{chapter}"}


def verse_text(osis):
    """OSIS markup to text: notes and titles dropped, ends of paragraphs and of lines of verse kept."""
    osis = re.sub(r"<note\b.*?</note>", " ", osis, flags=re.S)
    osis = re.sub(r"<title\b.*?</title>", "", osis, flags=re.S)
    osis = re.sub(r"<(div[^>]*(?:sID|eID)=[^>]*type=\"x-p\"|lb type=\"x-p\"|lg [^>]*)/>", "\n\n", osis)
    osis = re.sub(r"<l [^>]*eID=[^>]*/>", "\n", osis)
    text = re.sub(r"<[^>]*>", "", osis)
    text = re.sub(r"[ \t]+", " ", text)
    text = re.sub(r" *\n *", "\n", text)
    return re.sub(r" +([,.;:!?”])", r"\1", text).strip()


# ------------------------------------------------------------------------------------------------- the Rust manuals

class Page(html.parser.HTMLParser):
    """The <main> of an mdBook page as plain Markdown: headings, paragraphs, lists, tables and fenced code."""

    SKIP_CLASSES = ("rule", "grammar-container", "railroad-production", "popup", "test-link", "grammar-railroad",
                    "boring", "alert-title", "filename", "rule-link")
    BLOCKS = ("p", "figcaption", "h1", "h2", "h3", "h4", "h5", "h6", "tr", "dt", "dd")
    VOID = ("br", "img", "wbr", "hr", "input", "link", "meta")

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.blocks, self.text, self.stack, self.skip, self.code = [], "", [], None, None
        self.lists, self.main = [], False

    def flush(self):
        text = re.sub(r"\s+", " ", self.text).strip() if self.code is None else self.text
        self.text = ""
        if self.main and text and not re.fullmatch("-|#+", text):
            self.blocks.append(text)

    def handle_starttag(self, tag, attrs):
        if tag == "main":
            self.main, self.text = True, ""
        classes = (dict(attrs).get("class") or "").split()
        if tag in self.VOID:
            self.text += " " if tag == "br" and self.code is None else ""
            return
        self.stack.append(tag)
        if self.skip is None and (tag in ("svg", "button", "script", "style")
                                  or any(c.startswith(s) for c in classes for s in self.SKIP_CLASSES)):
            self.skip = len(self.stack)
        if tag == "pre":
            self.flush()
            self.code = ""
        elif tag == "code" and self.code is None:
            self.text += "`"
        elif tag == "code":
            self.code = next((c[9:] for c in classes if c.startswith("language-")), "")
        elif tag in ("ul", "ol"):
            self.flush()
            self.lists.append([tag, 0])
        elif tag == "li" and self.lists:
            self.flush()
            self.lists[-1][1] += 1
            mark = "-" if self.lists[-1][0] == "ul" else f"{self.lists[-1][1]}."
            self.text = f"{mark} "
        elif tag in self.BLOCKS and not (tag == "p" and re.fullmatch(r"(-|\d+\.) ", self.text)):
            self.flush()
            self.text = "#" * int(tag[1]) + " " if re.fullmatch("h[1-6]", tag) else ""
        elif tag in ("td", "th") and self.text:
            self.text += " | "

    def handle_endtag(self, tag):
        if tag == "main":
            self.flush()
            self.main = False
        if tag in self.VOID or tag not in self.stack:
            return
        while self.stack.pop() != tag:
            pass
        if self.skip is not None and len(self.stack) < self.skip:
            self.skip = None
        if tag == "pre":
            body = self.text.strip("\n").rstrip()
            self.text, language, self.code = "", self.code, None
            if body:
                self.blocks.append(f"```{language}\n{body}\n```")
        elif tag == "code" and self.code is None:
            self.text += "`"
        elif tag in self.BLOCKS or tag == "li":
            self.flush()
        elif tag in ("ul", "ol") and self.lists:
            self.flush()
            self.lists.pop()

    def handle_data(self, data):
        if self.main and self.skip is None:
            self.text += data


def manuals(docs):
    for book, skip in (("book", r"title-page|appendix-06"), ("reference", r"grammar|test-summary|syntax-index")):
        with open(os.path.join(docs, book, "toc.html"), encoding="utf-8") as file:
            pages = re.findall(r'<a href="([^"#]+)"', file.read())
        for page in dict.fromkeys(pages):
            if re.match(skip, page):
                continue
            parser = Page()
            with open(os.path.join(docs, book, page), encoding="utf-8") as file:
                parser.feed(file.read())
            name = page.removesuffix(".html")
            for text in group(sections(parser.blocks)):
                yield {"text": text, "source": f"rust-{book}/{name}"}


def sections(blocks):
    """Keeps a heading with the block under it, and list items together, so that no document ends in a heading."""
    out, join = [], False
    for block in blocks:
        item = re.match(r"(- |\d+\. )", block)
        if out and (join or (item and re.match(r"(- |\d+\. )", out[-1].rsplit("\n", 1)[-1]))):
            out[-1] += ("\n" if item and not join else "\n\n") + block
        else:
            out.append(block)
        join = block.startswith("#") or block.endswith(":")
    return out


# ----------------------------------------------------------------------------------------------------------- Chinese

# A poem with a placeholder or a rare character outside the basic block is damaged or hard to show: it is left out.
CHINESE_TEXT = re.compile(r"[\u4e00-\u9fff，。！？；：、“”‘’《》（）·…—\n]+")


def chinese(root):
    dist = os.path.join(root, "package/dist")
    for path in sorted(glob.glob(os.path.join(dist, "songci/ci.song.*000.json")), key=file_number):
        with open(path, encoding="utf-8") as file:
            for poem in json.load(file):
                text = "\n".join([poem["rhythmic"], poem["author"], "", *poem["paragraphs"]])
                if share(text) < SONGCI_KEEP and CHINESE_TEXT.fullmatch(text):
                    yield {"text": text, "source": f"songci/{poem['author']}/{poem['rhythmic']}"}
    with open(os.path.join(dist, "yuanqu/yuanqu.json"), encoding="utf-8") as file:
        yield from plays(json.load(file))


def file_number(path):
    return int(re.search(r"(\d+)\.json$", path).group(1))


def plays(arias):
    """Consecutive arias of one play ("play・tune") become the paragraphs of its documents."""
    works = {}
    for aria in arias:
        play, _, tune = aria["title"].partition("・")
        works.setdefault((aria["author"], play), []).append((tune.replace("・", "·").replace("/", "·"), aria["paragraphs"]))
    for (author, play), parts in works.items():
        if share(author + play) >= YUANQU_KEEP:
            continue
        texts = ["\n".join(([tune] if tune else []) + lines) for tune, lines in parts]
        texts = [t for t in texts if CHINESE_TEXT.fullmatch(t)]
        for text in group(texts, f"{play}\n{author}"):
            yield {"text": text, "source": f"yuanqu/{author}/{play}"}


# ------------------------------------------------------------------------------------------------------------ output

def write(name, documents, seen):
    rows, size = [], 0
    for document in documents:
        text = clean(document["text"])
        key = hashlib.sha256("".join(c for c in text if c.isalnum()).encode()).digest()
        if len(text.encode()) < DOCUMENT_BYTES_MIN or key in seen:
            continue
        seen.add(key)
        size += len(text.encode())
        rows.append(json.dumps({"text": text, "source": document["source"]}, ensure_ascii=False) + "\n")
    payload = "".join(rows).encode()
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.jsonl.gz")
    with open(path, "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.write(payload)
    digest = hashlib.sha256(payload).hexdigest()
    print(f"{name:10} {len(rows):6} documents {size:9} bytes of text {os.path.getsize(path):8} packed  sha256 {digest}")


def unpack(packages, pattern, into):
    (path,) = glob.glob(os.path.join(packages, pattern))
    os.makedirs(into)
    if path.endswith(".deb"):
        subprocess.run(["dpkg-deb", "-x", path, into], check=True)
    else:
        with tarfile.open(path) as archive:
            archive.extractall(into, filter="data")
    return into


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", required=True, help="folder with the two .deb files and the .tgz file")
    parser.add_argument("--rust-docs", required=True, help="folder that holds book/ and reference/")
    arguments = parser.parse_args()
    seen = set()
    with tempfile.TemporaryDirectory() as scratch:
        novels = unpack(arguments.packages, "r-cran-janeaustenr_1.0.0-1_*.deb", os.path.join(scratch, "austen"))
        sword = unpack(arguments.packages, "sword-text-web_426.0-1_*.deb", os.path.join(scratch, "sword"))
        poems = unpack(arguments.packages, "chinese-poetry-2.0.1.tgz", os.path.join(scratch, "poems"))
        write("english", (d for make in (austen(novels), bible(sword)) for d in make), seen)
        write("technical", manuals(arguments.rust_docs), seen)
        write("chinese", chinese(poems), seen)


if __name__ == "__main__":
    main()
