"""Plant small faults in one file after the other and see whether its tests notice: `make mutants`.

A tool of its own, as those at hand rewrite the source tree or need `src/`: here a child process is forked for
each mutant, which loads the changed source in place of the file and runs the tests. Nothing on disk changes.

    python tests/mutants.py                                # every file of TESTS_OF, a sample of each
    python tests/mutants.py workflow/delivery.py --all     # every mutant of one file

A survivor is a change that no test noticed: a missing test, or a change that makes no difference.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.util
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The stage files and the domain, with the tests that are to hold them: quick ones first.
TESTS_OF: dict[str, tuple[str, ...]] = {
    "workflow/domain/states.py": ("tests/unit/test_states.py",),
    "workflow/domain/patient.py": ("tests/unit/test_patient.py",),
    "workflow/domain/parts.py": ("tests/unit/test_parts.py",),
    "workflow/domain/measurement.py": ("tests/unit/test_measurement.py",),
    "workflow/domain/study_facts.py": ("tests/unit/test_study_facts.py",),
    "workflow/domain/study_state.py": ("tests/unit/test_domain_of_the_pipeline.py",),
    "workflow/domain/response/target.py": (
        "tests/unit/response/test_target_response.py",
        "tests/unit/response/test_target_choice.py",
        "tests/unit/response/test_lesion_life.py",
        "tests/unit/response/test_overall_response.py",
        "tests/unit/response",
    ),
    "workflow/domain/response/selection.py": ("tests/unit/response/test_target_choice.py",),
    "workflow/domain/response/other_lesions.py": ("tests/unit/response/test_overall_response.py",),
    "workflow/domain/response/best_response.py": ("tests/unit/response/test_best_response.py",),
    "workflow/domain/lesion_life.py": ("tests/unit/response/test_lesion_life.py",),
    "workflow/domain/visit.py": ("tests/unit/pipeline/test_visits.py",),
    "workflow/delivery.py": ("tests/unit/test_delivery.py",),
    "workflow/use_cases/attention.py": ("tests/unit/test_exit_codes.py",),
    "workflow/ingest.py": ("tests/unit/pipeline",),
    "workflow/timeline.py": ("tests/unit/pipeline",),
    "workflow/inference.py": ("tests/unit/pipeline",),
    "workflow/measurement.py": ("tests/unit/pipeline",),
    "workflow/response.py": ("tests/unit/pipeline",),
    "workflow/report.py": ("tests/unit/pipeline",),
    "workflow/review.py": ("tests/unit/pipeline",),
}  # fmt: skip

_COMPARED = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_COMPUTED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult}


def changed(node: ast.AST) -> ast.AST | None:
    """A node with a fault in it, None where there is nothing to break."""
    match node:
        case ast.Compare(left, [operator], right) if type(operator) in _COMPARED:
            return ast.Compare(left, [_COMPARED[type(operator)]()], right)
        case ast.BinOp(left, operator, right) if type(operator) in _COMPUTED:
            return ast.BinOp(left, _COMPUTED[type(operator)](), right)
        case ast.BoolOp(ast.And(), values):
            return ast.BoolOp(ast.Or(), values)
        case ast.BoolOp(ast.Or(), values):
            return ast.BoolOp(ast.And(), values)
        case ast.UnaryOp(ast.Not(), operand):
            return operand
        case ast.Constant(bool() as value):
            return ast.Constant(not value)
        case ast.Constant(int() | float() as value):
            return ast.Constant(value + 1)
        case ast.IfExp(test, body, orelse):
            return ast.IfExp(test, orelse, body)
        case ast.Return(value) if value is not None:
            return ast.Return(ast.Constant(None))
        case ast.Continue():
            return ast.Break()
        case ast.Expr(ast.Call()) | ast.Raise():
            return ast.Pass()
    return None


def mutants(source: str) -> Iterator[tuple[int, str, str]]:
    """Each faulty version of a module: the line, what was made of what, and the whole source."""
    tree = ast.parse(source)
    skipped = {id(n) for f in ast.walk(tree) for n in _annotations(f)}
    for number, node in enumerate(ast.walk(tree)):
        if id(node) in skipped or (new := changed(node)) is None:
            continue
        spoiled = copy.deepcopy(tree)
        twin = list(ast.walk(spoiled))[number]
        replacement = copy.deepcopy(new)
        _Swap(twin, replacement).visit(spoiled)
        words = f"{ast.unparse(node)}  ->  {ast.unparse(new)}"
        yield getattr(node, "lineno", 0), words, ast.unparse(ast.fix_missing_locations(spoiled))


class _Swap(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old, self._new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self._new if node is self._old else self.generic_visit(node)


def _annotations(node: ast.AST) -> Iterator[ast.AST]:
    """What never runs, or only words an error."""
    if isinstance(node, ast.FunctionDef):
        for argument in [*node.args.args, *node.args.kwonlyargs]:
            if argument.annotation:
                yield from ast.walk(argument.annotation)
        if node.returns:
            yield from ast.walk(node.returns)
    if isinstance(node, ast.AnnAssign):
        yield from ast.walk(node.annotation)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dataclass":
        yield from ast.walk(node)


class _Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from a given source."""

    def __init__(self, name: str, path: Path, source: str) -> None:
        self._name, self._path, self._source = name, path, source

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != self._name:
            return None
        return importlib.util.spec_from_file_location(name, self._path, loader=self)

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: object) -> None:
        exec(compile(self._source, str(self._path), "exec"), vars(module))


def passes(file: str, source: str | None, tests: Sequence[str], limit_s: float) -> bool:
    """Whether the tests pass in a child with this source for the file; one that hangs does not."""
    child = os.fork()
    if child == 0:
        os.setsid()
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        import pytest

        if source is not None:
            name = file.removesuffix(".py").replace("/", ".")
            sys.meta_path.insert(0, _Instead(name, ROOT / file, source))
        try:
            code = int(pytest.main(["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", *tests]))
        except BaseException:
            code = 1
        os._exit(code)
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def check(file: str, tests: Sequence[str], most: int | None, budget_s: float) -> list[str]:
    """Try a file's mutants; say which survived."""
    started = time.monotonic()
    if not passes(file, None, tests, 1800):
        print(f"{file}: its tests fail without any fault; nothing was tried")
        return [file]
    took_s = time.monotonic() - started
    planted = list(mutants((ROOT / file).read_text()))
    whole = len(planted)
    random.Random(1).shuffle(planted)
    planted = planted[:most]
    survivors, tried = [], 0
    for line, words, source in planted:
        if time.monotonic() - started > budget_s:
            break
        tried += 1
        if passes(file, source, tests, 30 + 5 * took_s):
            survivors.append(f"{file}:{line}: {words}")
            print(f"  survived  {survivors[-1]}", flush=True)
    print(
        f"{file}: {tried} of {whole} mutants tried, {tried - len(survivors)} found, {len(survivors)} survived"
    )
    return survivors


def main() -> None:
    """Try what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "files", nargs="*", default=[], help="files of TESTS_OF; all of them if none is given"
    )
    parser.add_argument("--most", type=int, default=40, help="mutants of each file, a fixed sample")
    parser.add_argument("--all", action="store_true", help="every mutant")
    parser.add_argument("--seconds", type=float, default=1800, help="at most this long for each file")
    given = parser.parse_args()
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    # Loaded once, before the forks; nothing of ours.
    import hypothesis  # noqa: F401
    import numpy  # noqa: F401
    import pytest  # noqa: F401

    for file in given.files or TESTS_OF:
        check(file, TESTS_OF[file], None if given.all else given.most, given.seconds)


if __name__ == "__main__":
    main()
