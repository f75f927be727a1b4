"""index.html: a dump on one page, with links to its files."""

from __future__ import annotations

from pathlib import Path

from crossdock.decompile.dynamo import origins
from crossdock.decompile.dynamo.index import Index

FILE = "index.html"
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>What was compiled: {{ index.process.argv|join(" ") }}</title>
<style>
body { font: 15px/1.4 sans-serif; max-width: 80em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; }
td, th { border-bottom: 1px solid #ccc; padding: .25em .8em; text-align: left; }
td { vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
pre { white-space: pre-wrap; margin: 0; }
.bad { color: #a00; }
</style>
<h1>What was compiled</h1>
<p>{{ index.process.argv|join(" ") }}, {{ index.process.started }} on {{ index.process.host }}
{%- if index.process.rank is not none %}, rank {{ index.process.rank }} of
{{ index.process.world_size }}{% endif %}
{%- for name, version in index.process.versions.items() %}, {{ name }} {{ version }}{% endfor %}.
The whole run in one file: <a href="full_code.py">full_code.py</a>.</p>
<h2>Compilations</h2>
<table>
<tr><th>id</th><th>function</th><th>standing</th>
{%- for name in seconds %}<th>{{ name }} (s)</th>{% endfor %}<th>nodes</th><th>files</th></tr>
{% for one in index.compiles %}
<tr id="compile-{{ one.compile_id }}"><td>{{ one.compile_id }}</td>
<td>{{ one.user.function }}<br>{{ one.user.file }}:{{ one.user.line }}</td>
<td>{% if one.failed %}<span class="bad">failed: {{ one.failed }}</span>
{%- elif one.skipped %}given up{% else %}{{ standing(one) }}{% endif %}</td>
{%- for name in seconds %}<td class="number">{% if name in one.seconds %}
{{- "%.3f"|format(one.seconds[name]) }}{% endif %}</td>{% endfor %}
<td class="number">{{ one.nodes if one.nodes is not none }}</td>
<td>{% for file in files(one) %}<a href="{{ file.file }}">{{ file.kind }}</a> {% endfor %}</td></tr>
{% endfor %}
</table>
{% if mapped %}
<h2>Lines</h2>
<p>What lines of the files come from. Lines that are not listed come from the same line as those
before them, and so does what Dynamo adds; at the beginning that is the function's first line.</p>
{% for one in mapped %}
<details><summary><a href="{{ one.file }}">{{ one.file }}</a>, of {{ one.user.file }}</summary>
<table>
<tr><th>line</th><th></th><th>from</th><th></th><th>byte</th></tr>
{% for row in rows(one) %}
<tr><td class="number">{{ row.mapped.line }}</td><td><pre>{{ row.text }}</pre></td>
<td class="number">{{ row.mapped.original }}</td><td><pre>{{ row.source }}</pre></td>
<td class="number">{{ row.mapped.offset }}</td></tr>
{% endfor %}
</table></details>
{% endfor %}
{% endif %}
<h2>Graph breaks</h2>
{% if index.breaks %}
<table>
<tr><th>in</th><th>where</th><th>reason</th></tr>
{% for one in index.breaks %}
<tr><td>{{ one.compile_id or "" }}</td>
<td>{% if one.user %}{{ one.user.function }}<br>
{{- one.user.file }}:{{ one.user.line }}{% endif %}</td>
<td><details><summary>{{ one.reason }}</summary><pre>{{ one.details }}</pre></details></td></tr>
{% endfor %}
</table>
{% else %}<p>None.</p>{% endif %}
<h2>Recompilations</h2>
{% set again = index.compiles|selectattr("recompiled_because")|list %}
{% if again %}
<table>
<tr><th>compilation</th><th>function</th><th>instead of</th><th>guard that failed</th>
<th>source</th></tr>
{% for one in again %}{% for failed in one.recompiled_because %}
<tr><td>{{ one.compile_id }}</td><td>{{ one.user.function }}</td><td>{{ failed.compile_id }}</td>
<td><code>{{ failed.guard }}</code></td><td>{{ failed.source }}</td></tr>
{% endfor %}{% endfor %}
</table>
{% else %}<p>None.</p>{% endif %}
{% if unproved %}
<h2>Not proved: the original bytecode runs</h2>
<table>
{% for one in unproved %}
<tr><td><a href="{{ one.file }}">{{ one.file }}</a></td><td>{{ one.standing }}</td>
<td class="bad">{{ one.note }}</td></tr>
{% endfor %}
</table>
{% endif %}
{% if index.faults %}
<h2>What the dump misses</h2>
{% for fault in index.faults %}<pre class="bad">{{ fault }}</pre>{% endfor %}
{% endif %}
</html>
"""


def html(index: Index, folder: Path) -> str | None:
    """The page; None where jinja2, which comes with the extra ``workloads``, is not installed.

    Args:
        index: what was dumped.
        folder: where its files lie.
    """
    try:
        from jinja2 import Environment
    except ImportError:
        return None
    environment = Environment(autoescape=True, trim_blocks=True)
    seconds = list(dict.fromkeys(name for one in index.compiles for name in one.seconds))
    return environment.from_string(_PAGE).render(
        index=index,
        seconds=seconds,
        mapped=[one for one in index.artifacts if one.lines],
        rows=lambda one: origins.rows(one, folder),
        unproved=[one for one in index.artifacts if one.standing in {"unproved", "refused"}],
        files=lambda one: [a for a in index.artifacts if a.compile_id == one.compile_id],
        standing=lambda one: ", ".join(
            a.standing
            for a in index.artifacts
            if a.compile_id == one.compile_id and a.kind == "transformed"
        ),
    )
