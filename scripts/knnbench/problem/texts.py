"""Rows of numbers in text: tables between commas, and lines of numbers with or without a word before them.

A text says little of itself, so that most of it is guessed from its first lines. Every guess is said.
"""

import contextlib
import functools
import gzip
import itertools
from collections import Counter

import numpy as np

from knnbench.problem.formats import CUT_SHORT
from knnbench.problem.points import BROKEN, DataError, Stream, block_rows

LINE = 2**20  # bytes of a line of text: the longest that is a row
SEEN = 100  # lines by which the form of a text is told
BOM = b"\xef\xbb\xbf"  # with which some programs begin a text in UTF-8


def is_number(word):
    try:
        float(word)
    except ValueError:
        return False
    return b"_" not in word if isinstance(word, bytes) else "_" not in word  # Python's own 1_000


def is_gzip(path):
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def lines_of(path):
    """Lines of a text, which may be compressed by gzip, with their numbers from 1; empty ones are left out."""
    with (gzip.open if is_gzip(path) else open)(path, "rb") as file:
        for number in itertools.count(1):
            line = file.readline(LINE)
            if not line:
                return
            if number == 1 and (line.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in line):
                raise DataError(f"{path}: is no text in UTF-8; say format: what it is, or save it as UTF-8")
            if len(line) == LINE:
                raise DataError(f"{path}: line {number} is longer than {LINE:,} bytes; a line is one row of numbers")
            line = line.removeprefix(BOM) if number == 1 else line
            if line.strip():
                yield number, line


def trailing(fields):
    """How many fields at the end of a line are numbers."""
    return sum(1 for _ in itertools.takewhile(is_number, reversed(fields)))


def counted(path, first):
    """Count the lines from number `first` on that are not empty."""
    try:
        return sum(1 for number, _ in lines_of(path) if number >= first)
    except (OSError, EOFError, *BROKEN) as error:
        raise DataError(f"{path}: its rows cannot be counted ({error}); the file {CUT_SHORT}") from error


def text(path, name, say):
    """Lines of numbers between blanks, or of a word and its numbers, as GloVe and word2vec write them.

    A first line may be the number of rows and of dimensions, as word2vec's is, or name the columns; lines before it that begin
    with # are comments.
    """
    sample = list(itertools.islice(lines_of(path), SEEN))
    if not sample:
        raise DataError(f"{path}: has no lines but empty ones; copy, make or download it again")
    while len(sample) > 1 and sample[0][1].startswith(b"#") and trailing(sample[0][1].split()[1:]) == 0:
        sample.pop(0)
    for mark in (b",", b";"):
        if all(mark in line for _, line in sample):
            return csv(path, name, say, mark.decode())
    fields = [line.removeprefix(b"# ").split() if at == 0 else line.split() for at, (_, line) in enumerate(sample)]
    head, rest, said = fields[0], fields[1:], []
    first = sample[0][0]
    rows = None
    if len(head) == 2 and all(each.isdigit() for each in head) and rest:
        n, d = map(int, head)
        fewest = min(map(trailing, rest))  # a word may have blanks
        # Two whole numbers above rows of two numbers are a row, unless there are as many rows as they say.
        if fewest in (d, d + 1) and (max(map(len, rest)) > len(head) or counted(path, sample[1][0]) == n):
            rows, said = (n, d), [f"its first line says {n:,} x {d:,}"]
        elif fewest == d == len(head):
            said = [f"its first line may say {n:,} x {d:,}, but other rows follow, so it was taken for one"]
    if not rows and rest and trailing(head) == 0:
        usual = Counter(map(trailing, rest)).most_common(1)[0][0]
        said = ["its first line names the columns"] if usual in (len(head), len(head) - 1) else []
    if rows or (said and rest and trailing(head) == 0):
        fields, first = rest, sample[1][0]
    widths = set(map(len, fields))
    alone = all(trailing(each) == len(each) for each in fields) and len(widths) == 1
    if rows:
        d = rows[1]
        alone = alone and widths == {d}
    elif alone:
        d = widths.pop()
    else:
        runs = Counter(map(trailing, fields))
        d = max(runs, key=lambda run: (runs[run], -run))  # a word may be a number, or have blanks
    if d < 1:
        raise DataError(f"{path}: line {first} does not end in numbers; lines are numbers, or a word and its numbers")
    said += ["every line is numbers alone" if alone else f"what is before the last {d:,} numbers of a line was taken as a word"]
    say(f"{path}: read as text in dimension {d:,}; {'; '.join(said)}")
    kind = np.dtype(np.float64 if alone else np.float32)  # word vectors are learned in float32; of others nothing is known

    def blocks(step=None):
        found, number, n = [], 0, 0
        for number, line in lines_of(path):
            if number < first:
                continue
            try:
                found.append(np.array(line.split() if alone else line.rsplit(maxsplit=d)[-d:], kind))
            except ValueError as error:
                what = f"not {d} numbers" if alone else f"no word and {d} numbers"
                raise DataError(f"{path}: line {number} is {what} ({error})") from error
            if len(found[-1]) != d:
                raise DataError(f"{path}: line {number} has {len(found[-1])} numbers, others have {d}")
            n += 1
            if len(found) == (step or block_rows(d)):
                yield np.stack(found)
                found = []
        if rows and n != rows[0] and step is None:
            raise DataError(f"{path}: its first line says {rows[0]:,} rows, and {n:,} follow; the file {CUT_SHORT}")
        if found:
            yield np.stack(found)

    return Stream(functools.cache(lambda: counted(path, first)), d, kind, blocks)


def csv(path, name, say, mark=None):
    """A table in text: columns between commas, semicolons or tabs, which a first line may name.

    A first column of text, and the one without a name that pandas writes for its index, are no coordinates.
    """
    import pandas  # half a second, which no other format waits for

    sample = list(itertools.islice(lines_of(path), SEEN))
    if not sample:
        raise DataError(f"{path}: has no lines but empty ones; copy, make or download it again")
    skipped = next((at for at, (_, line) in enumerate(sample) if not line.startswith(b"#")), 0)
    first = sample[skipped][1]
    mark = mark or max((b"\t", b";", b","), key=first.count).decode()
    comma = mark == ";" and all(b"." not in line for _, line in sample)
    how = {
        "sep": mark,
        "header": None,
        "skiprows": sample[skipped][0] - 1,
        "encoding": "utf-8-sig",
        "compression": "gzip" if is_gzip(path) else None,
        "skip_blank_lines": True,
        "skipinitialspace": True,
    }

    @contextlib.contextmanager
    def in_words():
        try:
            yield
        except (ValueError, pandas.errors.ParserError) as error:
            words = " ".join(str(error).split())
            raise DataError(f"{path}: {words}; a table has one number in each column of a line") from error

    def number(word):
        return is_number(word.replace(",", ".") if comma else word)

    with in_words():
        seen = pandas.read_csv(path, **how, dtype=str, keep_default_na=False, nrows=SEEN)
    names, body = seen.iloc[0].tolist(), seen.iloc[1:]
    counting = [name for name in names if name] == [str(column) for column in range(sum(map(bool, names)))]
    numeric = [bool(len(body)) and body[column].map(number).all() for column in body]
    headed = len(body) > 0 and (not any(map(number, names)) or (counting and len(names) > 2)) and any(numeric)
    said = []
    if headed:
        said.append("its first line names the columns")
    else:
        names = [str(column + 1) for column in range(len(names))]
        numeric = [seen[column].map(number).all() for column in seen]
    kept = list(range(len(names)))
    if headed and not names[0]:
        kept.pop(0)
        said.append("the first column has no name, as pandas writes an index, and was left out")
    elif len(names) > 1 and not numeric[0] and not any(map(number, seen[0].iloc[int(headed) :])):
        kept.pop(0)
        said.append(f"the first column ({names[0]}) is text and was taken as a name of each row")
    for column in kept:
        if not numeric[column]:
            odd = next((each for each in seen[column].iloc[int(headed) :] if not number(each)), "")
            raise DataError(
                f"{path}: column {names[column]!r} has {odd!r}, which is no number; leave the column out, or repair the file"
            )
    d = len(kept)
    say(f"{path}: read as a table of {d:,} columns between {mark!r}; {'; '.join(said) or 'every line is numbers alone'}")
    how |= {"skiprows": how["skiprows"] + headed, "usecols": kept, "dtype": np.float64, "decimal": "," if comma else "."}
    begins = sample[skipped + headed][0]

    def blocks(step=None):
        with in_words(), pandas.read_csv(path, **how, chunksize=step or block_rows(d)) as parts:
            for part in parts:
                if (empty := part.isna().to_numpy()).any():
                    row, column = np.argwhere(empty)[0]
                    raise DataError(
                        f"{path}: row {part.index[row]:,} has no number in column {names[kept[column]]!r}; fill or remove it"
                    )
                yield part.to_numpy()

    return Stream(functools.cache(lambda: counted(path, begins)), d, np.dtype(np.float64), blocks)
