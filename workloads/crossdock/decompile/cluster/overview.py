"""The end of a run: what lies in its folder is completed, compared, and shown on one page."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from crossdock.decompile.cluster import dumps, terminal
from crossdock.decompile.cluster.assignment import rank_folder
from crossdock.decompile.cluster.errors import NoDumps, RankMissing
from crossdock.decompile.cluster.histories import Divergence, divergences
from crossdock.decompile.cluster.record import Record
from crossdock.decompile.cluster.wording import at, listed
from crossdock.decompile.dynamo import index, overview, page
from crossdock.decompile.dynamo.errors import DumpUnreadable

FILE = "index.html"
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{{ run.argv|join(" ") }}</title>
<style>
body { font: 15px/1.4 sans-serif; max-width: 80em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; width: 100%; }
td, th { border-bottom: 1px solid #ccc; padding: .25em .8em; text-align: left;
  vertical-align: top; }
td.half { width: 46%; }
pre { white-space: pre-wrap; margin: 0; }
.bad { color: #a00; }
</style>
<h1>{{ run.ranks|length }} ranks of {{ run.argv|join(" ") }}</h1>
<p>{{ run.started }}, {{ "%.1f"|format(run.seconds) }} s, by {{ run.launcher }}.</p>
{% for note in run.notes %}<p class="bad">{{ note }}</p>{% endfor %}
<table>
<tr><th>rank</th><th>where</th><th>end</th><th>compiled last</th><th>was at</th></tr>
{% for one in run.ranks %}
<tr><td>{% if one.gathered %}<a href="rank_{{ one.rank }}/index.html">{{ one.rank }}</a>
{%- else %}{{ one.rank }}{% endif %}</td>
<td>{{ one.host }}{% if one.pid is not none %}, process {{ one.pid }}{% endif %}</td>
<td{% if one.state != "ended" %} class="bad"{% endif %}>{{ one.why }}</td>
<td>{% if one.last %}{{ one.last.function }}, {{ at(one.last) }}
{%- if one.last_file and one.gathered %},
<a href="rank_{{ one.rank }}/{{ one.last_file }}">{{ one.last_id }}</a>{% endif %}
{% endif %}</td>
<td>{% if one.doing and one.state != "ended" %}{{ at(one.doing) }}{% endif %}</td></tr>
{% endfor %}
</table>
<h2>Where ranks part</h2>
{% if not run.divergences %}<p>Nowhere.</p>{% endif %}
{% for one in run.divergences %}
<h3>{{ one.function.function }}, {{ at(one.function) }}
{%- if one.turn %}, compilation {{ one.turn + 1 }}{% endif %}</h3>
<table>
<tr><th></th><th>{{ listed(one.left_ranks) }}</th><th>{{ listed(one.right_ranks) }}</th></tr>
{% for found in one.differences %}
<tr><td>{{ found.kind }}</td>
{% for ranks, side in ((one.left_ranks, found.left), (one.right_ranks, found.right)) %}
<td class="half">{% if side %}{% if side.user %}{{ at(side.user) }}{% endif %}
<pre>{{ side.text }}</pre>
{% if side.user %}<pre>{{ source(ranks, side.user) }}</pre>{% endif %}
{% else %}nothing of the kind{% endif %}</td>
{% endfor %}</tr>
{% endfor %}
</table>
{% endfor %}
{% if run.warned %}
<h2>Said while it ran</h2>
<ul>{% for one in run.warned %}<li>{{ listed(one.right_ranks) }} from
{{ listed(one.left_ranks) }}: {{ one.first.kind }} at
{{ at(one.first.user) }}: {{ one.first.text() }}</li>{% endfor %}</ul>
{% endif %}
</html>
"""


def compared(folder: Path, ranks: Collection[int]) -> tuple[list[Divergence], list[str]]:
    """Where the gathered dumps part, and what could not be compared.

    Args:
        folder: of the run.
        ranks: all that there were.
    """
    read: dict[int, dumps.Dump] = {}
    notes: list[str] = []
    for rank in ranks:
        try:
            read[rank] = dumps.one(folder, rank)
        except (RankMissing, NoDumps) as error:
            notes.append(f"rank {rank} is not compared: {error}")
    return divergences({rank: dump.steps for rank, dump in read.items()}), notes


def complete(folder: Path, rank: int) -> bool:
    """Write what a rank that did not end by itself has left out; whether it has a dump at all."""
    own = rank_folder(folder, rank)
    try:
        found = index.load(own)
    except DumpUnreadable:
        return False
    if not (own / overview.FILE).exists():
        (own / overview.FILE).write_text(
            overview.text(found, own), encoding="utf-8", errors="surrogatepass"
        )
        written = page.html(found, own)
        if written is not None:
            (own / page.FILE).write_text(written, encoding="utf-8", errors="surrogatepass")
    return True


def write(run: Record, folder: Path) -> None:
    """The record, and the page where jinja2 is installed."""
    run.save(folder)
    try:
        from jinja2 import Environment
    except ImportError:
        return

    def source(ranks: list[int], user: index.Line) -> str:
        return terminal.excerpt(rank_folder(folder, ranks[0]), user).plain

    made = Environment(autoescape=True, trim_blocks=True).from_string(_PAGE)
    text = made.render(run=run, at=at, listed=listed, source=source)
    (folder / FILE).write_text(text, encoding="utf-8", errors="surrogatepass")
