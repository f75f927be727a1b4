"""report.html: a run on one page that needs no other file."""

from __future__ import annotations

import base64
from pathlib import Path

from jinja2 import Environment

from crossdock.workloads.runner.record import Record
from crossdock.workloads.runner.text import cell

FILE = "report.html"
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>crossdock run {{ record.method }}</title>
<style>
body { font: 15px/1.4 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; }
td, th { border-bottom: 1px solid #ccc; padding: .25em .8em; text-align: left; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; }
.bad { color: #a00; }
</style>
<h1>crossdock run {{ record.method }}</h1>
<p>{{ record.started }}, {{ "%.1f"|format(record.seconds.get("total", 0)) }} s on
{{ record.cluster.nodes }} node(s) with {{ "%g"|format(record.cluster.cpus) }} CPUs,
git {{ record.git }}, seed {{ record.seed }}</p>
{% if record.error %}<p class="bad">Ended early: {{ record.error }}</p>{% endif %}
{% for name, table in record.tables.items() %}
<h2>{{ name }}</h2>
<table>
<tr>{% for column in table.columns %}<th>{{ column }}</th>{% endfor %}</tr>
{% for row in table.rows %}
<tr>{% for one in row %}<td{% if one is number %} class="number"{% endif %}>{{ one|cell }}</td>
{%- endfor %}</tr>
{% endfor %}
</table>
{% endfor %}
{% if record.failed %}
<h2>Failed</h2>
<table>
{% for one in record.failed %}<tr><td>{{ one.key }}</td><td class="bad">{{ one.reason }}</td></tr>
{% endfor %}
</table>
{% endif %}
{% for name, image in images.items() %}
<h2>{{ name }}</h2>
<img alt="{{ name }}" src="data:image/png;base64,{{ image }}">
{% endfor %}
<h2>How it was made</h2>
<table>
<tr><td>command</td><td>{{ record.argv|join(" ") }}</td></tr>
{% for name, value in record.options.items() %}<tr><td>{{ name }}</td><td>{{ value }}</td></tr>
{% endfor %}
{% for name, value in record.versions.items() %}<tr><td>{{ name }}</td><td>{{ value }}</td></tr>
{% endfor %}
</table>
</html>
"""


def write(record: Record, folder: Path) -> None:
    """Write the page beside the plots."""
    images = {
        name: base64.b64encode((folder / file).read_bytes()).decode()
        for name, file in record.plots.items()
    }
    environment = Environment(autoescape=True, trim_blocks=True)
    environment.filters["cell"] = cell
    page = environment.from_string(_PAGE).render(record=record, images=images)
    (folder / FILE).write_text(page, encoding="utf-8", errors="replace")
