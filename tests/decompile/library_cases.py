"""Modules of the standard library, and CPython's tests of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """``modules`` (packages with all that is in them) are swapped while ``tests`` run.

    ``brief`` cases are run each time, the others on demand. ``differ`` names tests that may come
    out otherwise, each with the reason.
    """

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    brief: bool = False
    differ: Mapping[str, str] = field(default_factory=dict)


def _case(modules: str, tests: str = "", **options: bool | Mapping[str, str]) -> Case:
    names = tests.split() or [f"test_{modules}"]
    return Case(tuple(modules.split()), tuple(names), **options)  # type: ignore[arg-type]


_LINES = "it compares lines of source in a traceback, and the bytecode has lines of its own"

_RESULTS = "unittest.test.test_result.Test_TestResult"

_ASYNCIO = "futures queues runners taskgroups timeouts"

_TRACED = "it compares the lines that are traced, and the bytecode has lines of its own"
_TRACING = (
    "test_default_wildcard",
    "test_only_default_capture",
    "test_only_default_wildcard",
    "test_unreachable_code",
)
_ORIGIN = "it compares the line where a coroutine was made, and the bytecode has lines of its own"
_LANGUAGE = (
    *("asyncgen", "augassign", "baseexception", "class", "contains", "descr", "except_star"),
    *("extcall", "fstring", "generators", "genexps", "grammar", "iter", "named_expressions"),
    *("positional_only_arg", "raise", "scope", "super", "unpack_ex", "with"),
)

CASES = (
    _case("ast", "test_ast test_unparse", brief=True),
    _case("json", brief=True),
    _case("argparse", brief=True),
    _case("collections _collections_abc", "test_collections test_deque test_ordered_dict"),
    _case("functools", brief=True),
    _case(
        "contextlib",
        "test_contextlib test_contextlib_async",
        brief=True,
        differ={
            "test.test_contextlib.TestExitStack.test_exit_exception_traceback": _LINES,
            "test.test_contextlib_async.TestAsyncExitStack.test_exit_exception_traceback": _LINES,
        },
    ),
    _case("dataclasses", brief=True),
    _case("enum", brief=True),
    _case("typing", brief=True),
    _case("re", brief=True),
    _case("difflib", brief=True),
    _case("textwrap", brief=True),
    _case("configparser", brief=True),
    _case("csv", brief=True),
    _case("datetime"),
    _case("_pydecimal", "test_decimal"),
    _case("fractions numbers", "test_fractions test_abstract_numbers", brief=True),
    _case("statistics"),
    _case("heapq", brief=True),
    _case("bisect"),
    _case("random", brief=True),
    _case("shlex", brief=True),
    _case("string"),
    _case("tokenize token", "test_tokenize test_tabnanny"),
    _case("traceback linecache", "test_traceback test_linecache"),
    _case(
        "unittest",
        differ={
            f"{_RESULTS}.test_addFailure_filter_traceback_frames": _LINES,
            f"{_RESULTS}.test_addFailure_filter_traceback_frames_context": _LINES,
        },
    ),
    _case("urllib", "test_urlparse test_urllib test_urllib2 test_urllib_response test_robotparser"),
    _case("uuid", brief=True),
    _case("zipfile"),
    _case("tarfile"),
    _case("pickle pickletools copyreg", "test_pickle test_pickletools test_copyreg"),
    _case("copy", brief=True),
    _case("asyncio", " ".join(f"test_asyncio.test_{name}" for name in _ASYNCIO.split())),
    _case("inspect"),
    _case("dis opcode", "test_dis"),
    _case("calendar"),
    _case("base64"),
    _case("html", "test_html test_htmlparser"),
    _case("xml", "test_minidom test_xml_etree test_sax test_pulldom"),
    _case("email"),
    _case("mimetypes"),
    _case("glob fnmatch", "test_glob test_fnmatch"),
    _case("pathlib posixpath genericpath", "test_pathlib test_posixpath test_genericpath"),
    _case("shutil tempfile", "test_shutil test_tempfile"),
    _case("queue"),
    _case("weakref _weakrefset", "test_weakref test_weakset"),
    _case("types abc _py_abc", "test_types test_abc"),
    _case("operator", brief=True),
    _case("optparse getopt", "test_optparse test_getopt", brief=True),
    _case("pprint reprlib", "test_pprint test_reprlib", brief=True),
    _case("sched"),
    _case("gettext locale", "test_gettext test_locale"),
    _case("hmac secrets hashlib", "test_hmac test_secrets test_hashlib"),
    _case("gzip bz2 lzma _compression", "test_gzip test_bz2 test_lzma"),
    _case("codecs encodings", "test_codecs test_codeccallbacks"),
    _case("plistlib netrc", "test_plistlib test_netrc"),
    _case("code codeop", "test_code_module test_codeop"),
    _case("pyclbr symtable", "test_pyclbr test_symtable"),
    _case("http", "test_http_cookies test_http_cookiejar"),
    _case("graphlib", brief=True),
    _case("warnings"),
    _case("ipaddress", brief=True),
    _case("tomllib zoneinfo", "test_tomllib test_zoneinfo"),
    _case("importlib", "test_importlib"),
    _case(
        "test.test_patma",
        "test_patma",
        brief=True,
        differ={f"test.test_patma.TestTracing.{name}": _TRACED for name in _TRACING},
    ),
    _case(
        "test.test_coroutines",
        "test_coroutines",
        differ={
            "test.test_coroutines.OriginTrackingTest.test_origin_tracking_warning": _ORIGIN,
        },
    ),
    _case(
        "test.test_exceptions",
        "test_exceptions",
        differ={
            f"test.test_exceptions.{name}": _LINES
            for name in (
                "ExceptionTests.test_unhandled",
                "PEP626Tests.test_lineno_after_other_except",
                "PEP626Tests.test_lineno_in_finally_normal",
            )
        },
    ),
    *(_case(f"test.test_{name}", f"test_{name}") for name in _LANGUAGE),
)
"""Modules of the library, then tests of the language, which are swapped themselves."""
