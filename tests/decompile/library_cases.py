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


CASES = (
    _case("ast", "test_ast test_unparse", brief=True),
    _case("json", brief=True),
    _case("argparse", brief=True),
    _case("collections _collections_abc", "test_collections test_deque test_ordered_dict", brief=True),
    _case("functools", brief=True),
    _case("contextlib", "test_contextlib test_contextlib_async", brief=True),
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
    _case("bisect", brief=True),
    _case("random", brief=True),
    _case("shlex", brief=True),
    _case("string", brief=True),
    _case("tokenize token", "test_tokenize test_tabnanny", brief=True),
    _case("traceback linecache", "test_traceback test_linecache"),
    _case("unittest", "test_unittest"),
    _case("urllib", "test_urlparse test_urllib test_urllib2 test_urllib_response test_robotparser"),
    _case("uuid", brief=True),
    _case("zipfile"),
    _case("tarfile"),
    _case("pickle pickletools copyreg", "test_pickle test_pickletools test_copyreg"),
    _case("copy", brief=True),
    _case("asyncio"),
    _case("concurrent", "test_concurrent_futures"),
    _case("inspect"),
    _case("dis opcode", "test_dis"),
    _case("calendar"),
    _case("base64", brief=True),
    _case("html", "test_html test_htmlparser", brief=True),
    _case("xml", "test_minidom test_xml_etree test_sax test_pulldom"),
    _case("email", "test_email"),
    _case("mimetypes", brief=True),
    _case("glob fnmatch", "test_glob test_fnmatch", brief=True),
    _case("pathlib posixpath genericpath ntpath", "test_pathlib test_posixpath test_genericpath test_ntpath"),
    _case("shutil tempfile", "test_shutil test_tempfile"),
    _case("os stat"),
    _case("logging"),
    _case("queue"),
    _case("threading _threading_local", "test_threading test_threading_local"),
    _case("weakref _weakrefset", "test_weakref test_weakset"),
    _case("types abc _py_abc", "test_types test_abc", brief=True),
    _case("operator", brief=True),
    _case("optparse getopt", "test_optparse test_getopt", brief=True),
    _case("pprint reprlib", "test_pprint test_reprlib", brief=True),
    _case("sched selectors", "test_sched test_selectors"),
    _case("gettext locale", "test_gettext test_locale"),
    _case("hmac secrets hashlib", "test_hmac test_secrets test_hashlib"),
    _case("gzip bz2 lzma _compression", "test_gzip test_bz2 test_lzma"),
    _case("codecs encodings", "test_codecs test_codeccallbacks"),
    _case("_pyio io", "test_io test_memoryio"),
    _case("plistlib netrc", "test_plistlib test_netrc"),
    _case("cmd code codeop", "test_cmd test_code_module test_codeop"),
    _case("pdb bdb", "test_pdb test_bdb"),
    _case("doctest"),
    _case("profile cProfile pstats trace timeit", "test_profile test_cprofile test_pstats test_trace test_timeit"),
    _case("pyclbr symtable", "test_pyclbr test_symtable"),
    _case("http", "test_http_cookies test_http_cookiejar test_httplib test_httpservers"),
    _case("graphlib", brief=True),
    _case("warnings"),
    _case("ipaddress"),
    _case("tomllib zoneinfo", "test_tomllib test_zoneinfo"),
    _case("sqlite3"),
    _case("importlib pkgutil runpy zipimport", "test_importlib test_pkgutil test_runpy test_zipimport"),
    _case("subprocess signal", "test_subprocess test_signal"),
    _case("socket socketserver ssl", "test_socketserver"),
    _case("struct imp ctypes", "test_struct test_ctypes"),
    _case("multiprocessing", "test_multiprocessing_fork"),
    _case("smtplib ftplib poplib imaplib", "test_smtplib test_ftplib test_poplib test_imaplib"),
    _case("mailbox"),
    _case("xmlrpc", "test_xmlrpc"),
    _case("test.test_patma", "test_patma"),
    _case("test.test_grammar", "test_grammar"),
    _case("test.test_generators", "test_generators"),
    _case("test.test_with", "test_with"),
    _case("test.test_except_star", "test_except_star"),
    _case("test.test_fstring", "test_fstring"),
    _case("test.test_coroutines", "test_coroutines"),
    _case("test.test_asyncgen", "test_asyncgen"),
    _case("test.test_named_expressions", "test_named_expressions"),
    _case("test.test_scope", "test_scope"),
    _case("test.test_exceptions", "test_exceptions"),
    _case("test.test_raise", "test_raise"),
    _case("test.test_extcall", "test_extcall"),
    _case("test.test_class", "test_class"),
    _case("test.test_descr", "test_descr"),
    _case("test.test_super", "test_super"),
    _case("test.test_genexps", "test_genexps"),
    _case("test.test_positional_only_arg", "test_positional_only_arg"),
    _case("test.test_contains", "test_contains"),
    _case("test.test_augassign", "test_augassign"),
    _case("test.test_baseexception", "test_baseexception"),
    _case("test.test_yield_from", "test_yield_from test_pep380") if False else _case("test.test_iter", "test_iter"),
)
"""Modules of the library."""
