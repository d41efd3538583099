"""The arrows of `docs/architecture.md`, read from the imports themselves."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import inversefacenet

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
ROOMS = ("inversefacenet", "services", "training", "benchmarks", "scripts")

GENERATED = "inversefacenet.v1."
WEB = {"fastapi", "starlette", "pydantic", "uvicorn", "prometheus_client"}
OUTSIDE = {"benchmarks", "scripts"}
FORBIDDEN = {
    "inversefacenet": {"services", "training", "torch", "anny", "onnx"} | WEB | OUTSIDE,
    "services": {"training", "torch", "numba", "dlib", "onnxruntime", "onnx", "trimesh"} | OUTSIDE,
    "training": {"services", "dlib"} | WEB | OUTSIDE,
}


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules():
    """Return all modules of the project by name."""
    return {name_of(path): path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))}


def _statements(tree):
    """Yield the import statements with whether they run when the module is imported."""
    pending = [(node, True) for node in tree.body]
    while pending:
        node, at_import = pending.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, at_import
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            at_import = False
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            at_import = False
        pending += [(child, at_import) for child in ast.iter_child_nodes(node)]


@cache
def imports(module, only_at_import=False):
    """Return the modules that a module names in its imports."""
    found = set()
    for node, at_import in _statements(ast.parse(modules()[module].read_text())):
        if only_at_import and not at_import:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            continue
        assert node.level == 0, f"{module} has a relative import"
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            found.add(inner if inner in modules() else node.module)
    return frozenset(found)


def packages(module, only_at_import=False):
    return {name.split(".")[0] for name in imports(module, only_at_import)}


def everything_behind(module):
    """Return all packages from outside the project that importing a module brings in."""
    seen, pending, outside = set(), [module], set()
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        for name in imports(current, only_at_import=True):
            if name in modules():
                pending.append(name)
            else:
                outside.add(name.split(".")[0])
    return outside - set(sys.stdlib_module_names)


def test_reading_imports_works():
    assert "inversefacenet.camera" in imports("inversefacenet.rendering")
    assert "onnxruntime" in packages("inversefacenet.onnx_session")
    assert "onnxruntime" not in packages("inversefacenet.onnx_session", only_at_import=True)
    assert "torch" in everything_behind("training.train")


@pytest.mark.parametrize("room", FORBIDDEN)
def test_arrows_point_one_way(room):
    wrong = {
        module: packages(module) & FORBIDDEN[room]
        for module in modules()
        if module.split(".")[0] == room and packages(module) & FORBIDDEN[room]
    }
    assert not wrong


def stated_homes():
    """Read the page's table of heavy packages."""
    return dict(re.findall(r"^\| `(\w+)` \| `([\w.]+)` \|", PAGE, flags=re.M))


def test_each_heavy_package_lives_in_the_one_module_that_the_page_names():
    homes = stated_homes()
    assert {"dlib", "numba", "onnxruntime", "trimesh", "tqdm"} <= set(homes)
    for package, home in homes.items():
        room = home.split(".")[0]
        users = {m for m in modules() if m.split(".")[0] == room and package in packages(m)}
        users = {m for m in users if not m.startswith(GENERATED)}
        # dlib is loaded by name, as its package's own name depends on the build.
        named = users or {m for m in modules() if f'"{package}"' in modules()[m].read_text()}
        assert named == {home}, package


def test_heavy_packages_are_loaded_when_they_are_needed():
    lazy = set(stated_homes()) - {"numba"}
    for module in modules():
        if module.split(".")[0] == "inversefacenet" and not module.startswith(GENERATED):
            assert not packages(module, only_at_import=True) & lazy, module


def test_the_library_has_no_circles():
    graph = {
        module: {name for name in imports(module, only_at_import=True) if name in modules()}
        for module in modules()
        if module.split(".")[0] == "inversefacenet"
    }
    order = list(TopologicalSorter(graph).static_order())
    assert order.index("inversefacenet.rasterizer") < order.index("inversefacenet.rendering")


def test_training_needs_little_and_evaluation_needs_no_torch():
    assert everything_behind("training.train") == {"numpy", "numba", "PIL", "jaxtyping", "torch"}
    assert everything_behind("training.evaluate") == {"numpy", "numba", "PIL", "jaxtyping"}


def test_the_page_names_every_module_and_no_other():
    listed = {
        name
        for room, block in re.findall(r"^### `([\w./]+)/`\n(.*?)(?=^##|\Z)", PAGE, flags=re.M | re.S)
        for row in re.findall(r"^\| ((?:`[\w.]+`(?:, )?)+) \|", block, flags=re.M)
        for name in (f"{room.replace('/', '.')}.{short}" for short in re.findall(r"`([\w.]+)`", row))
    }
    shown = ("inversefacenet", "services.gateway", "services.studio", "training")
    hidden = re.compile(r"__\w+__|training\.face_model\..*|.*\.__main__")
    actual = {m for m in modules() if m.startswith(shown) and not hidden.fullmatch(m)} - set(shown)
    assert listed == actual


def loaded_after(statement):
    """Return the top-level packages that a fresh interpreter holds after a statement."""
    code = f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


def test_importing_the_package_costs_nothing():
    assert not loaded_after("import inversefacenet") & {
        "numpy",
        "numba",
        "PIL",
        "jaxtyping",
        "onnxruntime",
        "dlib",
    }


def test_importing_the_pipeline_loads_no_detector_and_no_engine():
    loaded = loaded_after(
        "import inversefacenet.reconstruction, inversefacenet.landmarks, inversefacenet.backends.onnx\n"
        "import inversefacenet.export, inversefacenet.visualisation, inversefacenet.cli"
    )
    assert "numba" in loaded
    assert not loaded & {"dlib", "_dlib_pybind11", "onnxruntime", "trimesh", "tqdm", "torch"}


def test_public_names_are_what_they_say():
    assert sorted(inversefacenet.__all__) == sorted(inversefacenet._HOMES)
    for name in inversefacenet.__all__:
        value = getattr(inversefacenet, name)
        assert value.__name__ == name
        assert value.__module__ == f"inversefacenet.{inversefacenet._HOMES[name]}"
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = inversefacenet.nothing_of_the_kind
