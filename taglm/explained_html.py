"""An explained text as one HTML file without scripts and other files, for the screen and for print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from taglm.entities import Entity
from taglm.explaining import ExplainedSentence, ExplainedToken

# Okabe and Ito (2008): colours that people with every kind of colour vision tell apart. Labels are always written, too.
_COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2", "#999999")
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #111; background: #fff; max-width: 70rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.text { font-size: 1.15rem; overflow-wrap: anywhere; }
.entity { border-bottom: .25rem solid var(--colour); padding: 0 .15rem; }
.entity small, .entity sup { font-weight: 700; margin-left: .3rem; }
.other { outline: 2px dashed #111; outline-offset: 1px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border: 1px solid #888; padding: .15rem .6rem; text-align: left; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
td.token { overflow-wrap: anywhere; max-width: 24rem; }
tr.differs td { background: #fff3c4; font-weight: 700; }
tr.unknown td.token { font-style: italic; }
@media print { body { margin: 0; max-width: none; font-size: 11pt; }
  tr, p { break-inside: avoid; } thead { display: table-header-group; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


def to_html(sentences: Sequence[ExplainedSentence], model: str, baseline: str | None, labels: Sequence[str]) -> str:
    """Return the page; all text in it is escaped.

    Args:
        sentences: the explained text.
        model: name of the tagger.
        baseline: name of the baseline; None without one.
        labels: types of entities, for the colours.
    """
    colours = {label: _COLOURS[number % len(_COLOURS)] for number, label in enumerate(sorted(labels))}
    beside = "" if baseline is None else f" Beside it: <b>{escape(baseline)}</b>."
    notes = (
        "Probabilities are posteriors of the tagger's CRF. <i>Italic</i> words are unknown: the tagger has no vector "
        f"of them.{'' if baseline is None else ' Rows in bold with ≠ differ from the baseline.'}"
    )
    body = "\n".join(part for number, one in enumerate(sentences, 1) for part in _sentence(number, one, colours))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(model)}: explained</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>What {escape(model)} says</h1>\n<p>{notes}{beside}</p>\n{body or '<p>The text is empty.</p>'}\n"
        "</body>\n</html>\n"
    )


def _sentence(number: int, one: ExplainedSentence, colours: dict[str, str]) -> Iterator[str]:
    yield f"<h2>Sentence {number}</h2>\n<p class='text'>{_marked(one, one.entities, colours)}</p>"
    if one.baseline is not None:
        yield f"<p class='text'>Baseline: {_marked(one, one.baseline, colours)}</p>"
    headers = ["token", "tag", "probability", "next tag", "probability", "word"]
    headers += [] if one.baseline is None else ["", "baseline", "probability"]
    yield "<div class='scroll'><table><thead><tr>" + "".join(f"<th>{name}</th>" for name in headers) + "</tr></thead>"
    yield "<tbody>" + "\n".join(_row(token) for token in one.tokens) + "</tbody></table></div>"
    if one.paths:
        items = "".join(f"<li>{chance:.3f} {escape(text)}</li>" for text, chance in one.paths)
        yield f"<p>Most probable taggings:</p><ol>{items}</ol>"


def _row(token: ExplainedToken) -> str:
    names = [name for name, holds in (("differs", token.differs), ("unknown", not token.known)) if holds]
    cells = (
        f"<td class='token'>{escape(token.token)}</td><td>{escape(token.tag)}</td>"
        f"<td class='number'>{token.probability:.3f}</td><td>{escape(token.next_tag)}</td>"
        f"<td class='number'>{token.next_probability:.3f}</td><td>{'known' if token.known else 'unknown'}</td>"
    )
    if token.baseline is not None:
        cells += (
            f"<td>{'≠' if token.differs else ''}</td><td>{escape(token.baseline)}</td>"
            f"<td class='number'>{token.baseline_probability:.3f}</td>"
        )
    return f"<tr class='{' '.join(names)}'>{cells}</tr>"


def _marked(one: ExplainedSentence, entities: Sequence[Entity], colours: dict[str, str]) -> str:
    """Return the tokens with the entities marked; a dashed frame marks those that the other tagger does not have."""
    parts: list[str] = []
    place = 0
    for entity in entities:
        start, end = entity.token_start - one.first, entity.token_end - one.first
        parts += [escape(token.token) for token in one.tokens[place:start]]
        words = escape(" ".join(token.token for token in one.tokens[start:end]))
        frame = "" if one.is_shared(entity) else " other"
        parts.append(
            f"<span class='entity{frame}' style='--colour: {colours.get(entity.label, '#999999')}'>{words}"
            f"<small>{escape(entity.label)} {entity.confidence:.2f}</small></span>"
        )
        place = end
    parts += [escape(token.token) for token in one.tokens[place:]]
    return " ".join(parts)
