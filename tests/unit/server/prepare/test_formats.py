"""Which formats models have, that MLflow logged, or that somebody wrote who means no good."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import mlflow.lightgbm
import mlflow.onnx
import mlflow.pyfunc
import mlflow.sklearn
import mlflow.statsmodels
import mlflow.xgboost
import numpy as np
import onnx
import pytest
import statsmodels.api
import xgboost
import yaml
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mlflow_model_server.prepare import formats, policy
from mlflow_model_server.prepare.init_container import prepare
from mlflow_model_server.prepare.model_folder import FormatUse, UnsafeModel
from mlflow_model_server.prepare.requirements import read
from mlflow_model_server.runtime import pickle_switch, server_packages
from mlflow_model_server.runtime.termination import StartupError
from mlflow_model_server.settings import FORMATS, Settings, SettingsError, from_environment

X = np.arange(20.0).reshape(10, 2)
Y = np.array([0, 1] * 5)
SWITCH = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"
NO_PACKAGES: dict[str, Any] = {"pip_requirements": []}  # MLflow needs long to find them out
DATA_FORMATS = tuple(name for name in FORMATS if name not in ("pickle", "code"))
FROM_CODE = """\
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

class Model(PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input

set_model(Model())
"""


class Echo(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return model_input


def fitted() -> LogisticRegression:
    return LogisticRegression().fit(X, Y)


def onnx_model(**fields: Any) -> onnx.ModelProto:
    weights = numpy_helper.from_array(np.ones((2, 1), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], **fields)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def save_sklearn(path: Path, written: str) -> None:
    mlflow.sklearn.save_model(fitted(), path, serialization_format=written, **NO_PACKAGES)


def save_untrusted(path: Path) -> None:
    """A skops file whose types only the list in MLmodel trusts."""
    model = make_pipeline(FunctionTransformer(os.path.basename), LogisticRegression())
    types = ["posixpath.basename"]
    mlflow.sklearn.save_model(
        model, path, serialization_format="skops", skops_trusted_types=types, **NO_PACKAGES
    )


def save_from_code(path: Path) -> None:
    script = path.with_suffix(".py")
    script.write_text(FROM_CODE)
    mlflow.pyfunc.save_model(path, python_model=str(script), **NO_PACKAGES)


def save_with_code(path: Path) -> None:
    script = path.with_suffix(".py")
    script.write_text("VALUE = 1\n")
    mlflow.sklearn.save_model(
        fitted(), path, serialization_format="skops", code_paths=[str(script)], **NO_PACKAGES
    )


def save_xgboost(path: Path, model_format: str = "ubj") -> None:
    booster = xgboost.train({}, xgboost.DMatrix(X, Y), 1)
    mlflow.xgboost.save_model(booster, path, model_format=model_format, **NO_PACKAGES)


def save_lightgbm(path: Path) -> None:
    booster = lightgbm.train({"verbose": -1}, lightgbm.Dataset(X, Y), 1)
    mlflow.lightgbm.save_model(booster, path, **NO_PACKAGES)


def save_statsmodels(path: Path) -> None:
    mlflow.statsmodels.save_model(statsmodels.api.OLS(Y, X).fit(), path, **NO_PACKAGES)


SAVED: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "sklearn-skops": (lambda path: save_sklearn(path, "skops"), {"skops"}),
    "sklearn-pickle": (lambda path: save_sklearn(path, "pickle"), {"pickle"}),
    "sklearn-cloudpickle": (lambda path: save_sklearn(path, "cloudpickle"), {"pickle"}),
    "sklearn-skops-untrusted": (save_untrusted, {"pickle"}),
    "sklearn-skops-code-paths": (save_with_code, {"skops", "code"}),
    "pyfunc": (
        lambda path: mlflow.pyfunc.save_model(path, python_model=Echo(), **NO_PACKAGES),
        {"pickle"},
    ),
    "from-code": (save_from_code, {"code"}),
    "onnx": (lambda path: mlflow.onnx.save_model(onnx_model(), path, **NO_PACKAGES), {"onnx"}),
    "xgboost-ubj": (save_xgboost, {"xgboost"}),
    "xgboost-json": (lambda path: save_xgboost(path, "json"), {"xgboost"}),
    "xgboost-classifier": (
        lambda path: mlflow.xgboost.save_model(
            xgboost.XGBClassifier(n_estimators=1).fit(X, Y), path, **NO_PACKAGES
        ),
        {"xgboost"},
    ),
    "lightgbm": (save_lightgbm, {"lightgbm"}),
    "lightgbm-classifier": (
        lambda path: mlflow.lightgbm.save_model(
            lightgbm.LGBMClassifier(n_estimators=1, verbose=-1).fit(X, Y),
            path,
            serialization_format="cloudpickle",
            **NO_PACKAGES,
        ),
        {"pickle"},
    ),
    "statsmodels": (save_statsmodels, {"pickle"}),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logged"


def mlmodel_of(folder: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((folder / "MLmodel").read_text()))


def classified(folder: Path) -> set[str]:
    return {use.format for use in formats.classify(folder, mlmodel_of(folder))}


def write(folder: Path, **flavors: Any) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": flavors}))


def change(folder: Path, flavor: str, **fields: Any) -> None:
    content = mlmodel_of(folder)
    content["flavors"].setdefault(flavor, {}).update(fields)
    (folder / "MLmodel").write_text(yaml.safe_dump(content))


def denial(folder: Path, settings: Settings, *allowed: str) -> str:
    prepared = dataclasses.replace(
        settings, model_uri=str(folder), allowed_formats=allowed or DATA_FORMATS
    )
    with pytest.raises(StartupError) as failed:
        prepare(prepared)
    assert failed.value.reason == "PolicyDenied"
    return failed.value.message


@pytest.mark.parametrize("name", SAVED)
def test_formats_of_logged_models(path: Path, name: str) -> None:
    save, expected = SAVED[name]
    save(path)
    assert classified(path) == expected


@pytest.mark.parametrize("name", ["sklearn-skops", "onnx", "lightgbm", "from-code"])
def test_a_model_of_allowed_formats_is_prepared(
    path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(SWITCH, "true")
    save, expected = SAVED[name]
    save(path)
    prepare(dataclasses.replace(settings, model_uri=str(path), allowed_formats=tuple(expected)))
    assert (settings.model_dir / "formats").read_text().split() == sorted(expected)


@pytest.mark.parametrize("name", SAVED)
def test_a_model_is_denied_without_each_of_its_formats(
    path: Path, settings: Settings, name: str
) -> None:
    save, expected = SAVED[name]
    save(path)
    for missing in expected:
        others = [each for each in FORMATS if each != missing]
        assert f"has the format {missing}" in denial(path, settings, *others)


def test_the_message_names_the_file_and_the_rule(path: Path, settings: Settings) -> None:
    save_sklearn(path, "pickle")
    assert denial(path, settings, "onnx", "skops") == (
        "model.pkl has the format pickle, but only onnx, skops are allowed: nothing of the model "
        "was loaded"
    )


def test_nothing_is_checked_without_a_list(path: Path, settings: Settings) -> None:
    save_sklearn(path, "pickle")
    (path / "link").symlink_to("/etc/hostname")
    formats.check(dataclasses.replace(settings, model_uri=str(path)), mlmodel_of(path))


@pytest.mark.parametrize(
    "fields",
    [
        {"serialization_format": None},
        {"serialization_format": ["skops"]},
        {"serialization_format": "SKOPS"},
        {"serialization_format": "pickle"},
    ],
)
def test_sklearn_is_skops_only_where_the_field_says_so(path: Path, fields: dict[str, Any]) -> None:
    save_sklearn(path, "skops")
    change(path, "sklearn", **fields)
    assert classified(path) == {"pickle"}


def test_sklearn_without_its_flavor_is_no_skops(path: Path, settings: Settings) -> None:
    save_sklearn(path, "skops")
    content = mlmodel_of(path)
    del content["flavors"]["sklearn"]
    (path / "MLmodel").write_text(yaml.safe_dump(content))
    denial(path, settings)


def test_a_pickle_that_is_called_skops_is_refused(path: Path, settings: Settings) -> None:
    save_sklearn(path, "pickle")
    (path / "model.pkl").rename(path / "model.skops")
    change(path, "sklearn", serialization_format="skops")
    change(path, "python_function", model_path="model.skops")
    assert "model.skops can't be read as skops" in denial(path, settings)


def test_a_second_mlmodel_file_is_refused(path: Path, settings: Settings) -> None:
    save_sklearn(path, "skops")
    (path / "inner").mkdir()
    (path / "inner" / "MLmodel").write_text((path / "MLmodel").read_text())
    assert "inner/MLmodel is a second MLmodel file" in denial(path, settings)


@pytest.mark.parametrize(
    "changes",
    [
        {"data": "inner"},
        {"data": "../model.skops"},
        {"data": "/model.skops"},
        {"data": ["model.skops"]},
        {"data": ""},
        {"data": None},
        {"data": "."},
        {"data": "inner/model.skops"},
        {"model_path": "../model.skops"},
        {"model_path": {"a": 1}},
        {"model_path": "missing"},
        {"model_path": "a\0b"},
        {"loader_module": "os"},
        {"loader_module": "mlflow.unknown"},
        {"loader_module": "mlflow"},
        {"loader_module": "mlflow.sklearn.utils"},
        {"loader_module": "mlflow.pyfunc.loaders"},
        {"loader_module": "evil.sklearn"},
        {"loader_module": ["mlflow.sklearn"]},
        {"loader_module": None},
        {"predict_fn": "__class__"},
        {"predict_fn": 3},
        {"streamable": True},
        {"artifacts": {"a": {"path": "x"}}},
        {"python_model": "model.skops"},
        {"code": "inner"},
        {"code": ["inner"]},
        {"config": {"a": 1}},
        {"new_field": 1},
    ],
    ids=str,
)
def test_hostile_fields_of_python_function(
    path: Path, settings: Settings, changes: dict[str, Any]
) -> None:
    save_sklearn(path, "skops")
    (path / "inner").mkdir()
    (path / "inner" / "model.skops").write_bytes((path / "model.skops").read_bytes())
    change(path, "python_function", **changes)
    denial(path, settings)


@pytest.mark.parametrize(
    ("flavor", "fields"),
    [
        ("xgboost", {"data": "model.ubj"}),
        ("fastai", {}),
        ("sklearn", {"model_code_path": "x.py"}),
        ("sklearn", {"code": "code"}),
        ("python_function", {"model_code_path": "x.py"}),
    ],
)
def test_further_flavors_and_code_are_refused(
    path: Path, settings: Settings, flavor: str, fields: dict[str, Any]
) -> None:
    save_sklearn(path, "skops")
    change(path, flavor, **fields)
    assert "has the format code" in denial(path, settings)


@pytest.mark.parametrize(
    "flavors",
    [
        {"python_function": {"loader_module": "mlflow.sklearn"}, "sklearn": None},
        {"python_function": {"loader_module": "mlflow.sklearn"}, "sklearn": "skops"},
        {"python_function": {"loader_module": "mlflow.sklearn"}, 3: {}},
        {"python_function": {"loader_module": "mlflow.sklearn", 4: 5}, "sklearn": {}},
        {"python_function": {}},
        {"python_function": {"loader_module": "mlflow.statsmodels"}},
        {"python_function": {"loader_module": "mlflow.transformers"}, "transformers": {}},
        {"python_function": {"loader_module": "mlflow.pytorch", "data": "d"}, "pytorch": {}},
        {
            "python_function": {"loader_module": "mlflow.pytorch", "data": "../d"},
            "pytorch": {"serialization_format": "pt2"},
        },
        {
            "python_function": {"loader_module": "mlflow.catboost", "data": "MLmodel"},
            "catboost": {"save_format": "python"},
        },
        {"python_function": {"loader_module": "mlflow.pyfunc.model", "artifacts": {"a": 1}}},
    ],
    ids=str,
)
def test_hostile_mlmodel_files(path: Path, settings: Settings, flavors: Any) -> None:
    path.mkdir()
    (path / "MLmodel").write_text(yaml.safe_dump({"flavors": flavors}))
    denial(path, settings)


def test_catboost_and_torch_export_by_their_fields(path: Path) -> None:
    function = {"loader_module": "mlflow.catboost", "data": "model.cb"}
    write(path, python_function=function, catboost={"save_format": "cbm", "model_type": "CatBoost"})
    (path / "model.cb").write_text("")
    assert classified(path) == {"catboost"}
    function = {"loader_module": "mlflow.pytorch", "data": "data"}
    write(path, python_function=function, pytorch={"serialization_format": "pt2"})
    assert classified(path) == {"torch-export"}
    (path / "data").mkdir()
    (path / "data" / "model.pth").write_text("")
    assert "pickle" in classified(path)


@pytest.mark.parametrize("name", ["a.pkl", "b/c.joblib", "M.PTH", "x.pt", "e.dill", "f.pickle"])
def test_pickles_anywhere_in_the_folder_count(path: Path, settings: Settings, name: str) -> None:
    save_sklearn(path, "skops")
    (path / name).parent.mkdir(exist_ok=True)
    (path / name).write_text("")
    assert f"{name} has the format pickle" in denial(path, settings)


def test_shared_libraries_are_code(path: Path, settings: Settings) -> None:
    mlflow.onnx.save_model(onnx_model(), path, **NO_PACKAGES)
    (path / "ops.so").write_text("")
    assert "ops.so has the format code" in denial(path, settings)


@pytest.mark.parametrize("target", ["/etc/hostname", "../elsewhere", "model.skops", "missing"])
def test_links_are_refused(path: Path, settings: Settings, target: str) -> None:
    save_sklearn(path, "skops")
    (path / "link").symlink_to(target)
    assert "link is a link" in denial(path, settings)


def test_a_folder_that_is_a_link_is_refused(path: Path, settings: Settings, tmp_path: Path) -> None:
    save_sklearn(path, "skops")
    (path / "folder").symlink_to(tmp_path, target_is_directory=True)
    assert "folder is a link" in denial(path, settings)


def test_what_is_no_file_is_refused(path: Path, settings: Settings) -> None:
    save_sklearn(path, "skops")
    os.mkfifo(path / "pipe")
    assert "pipe is neither a file nor a folder" in denial(path, settings)


@pytest.mark.parametrize("name", ["os.getcwd", "subprocess.Popen", "evil", ["x"], None, ""])
def test_xgboost_of_another_class(path: Path, settings: Settings, name: Any) -> None:
    save_xgboost(path)
    change(path, "xgboost", model_class=name)
    denial(path, settings)


@pytest.mark.parametrize("name", ["lightgbm.sklearn.LGBMClassifier", "x", None, ["x"]])
def test_lightgbm_of_another_class(path: Path, settings: Settings, name: Any) -> None:
    save_lightgbm(path)
    change(path, "lightgbm", model_class=name)
    denial(path, settings)


@pytest.mark.parametrize("flavor", ["xgboost", "lightgbm"])
@pytest.mark.parametrize("data", ["../model", "/etc/hostname", None, 3, "requirements.txt.gz"])
def test_boosters_elsewhere(path: Path, settings: Settings, flavor: str, data: Any) -> None:
    {"xgboost": save_xgboost, "lightgbm": save_lightgbm}[flavor](path)
    change(path, flavor, data=data)
    denial(path, settings)


@pytest.mark.parametrize(
    "fields",
    [
        {"providers": [["TensorrtExecutionProvider", {"trt_extra_plugin_lib_paths": "x.so"}]]},
        {"providers": {"a": "b"}},
        {"providers": "QNNExecutionProvider,x"},
        {"onnx_session_options": {"extra_session_config": {"a": "b"}}},
        {"onnx_session_options": ["a"]},
    ],
    ids=str,
)
def test_onnx_with_options_that_name_libraries(
    path: Path, settings: Settings, fields: dict[str, Any]
) -> None:
    mlflow.onnx.save_model(onnx_model(), path, **NO_PACKAGES)
    change(path, "onnx", **fields)
    denial(path, settings)


def external(location: str) -> onnx.ModelProto:
    model = onnx_model()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="offset", value="0")
    tensor.external_data.add(key="location", value=location)
    return model


def in_attribute(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same, with the tensor in a graph that is a node's attribute."""
    outer = onnx_model()
    outer.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=model.graph))
    return outer


@pytest.mark.parametrize("location", ["../x", "/etc/hostname", "missing", "*/_ORT_MEM_ADDR_/*", ""])
@pytest.mark.parametrize("place", [lambda model: model, in_attribute])
def test_onnx_with_tensors_elsewhere(
    path: Path,
    settings: Settings,
    location: str,
    place: Callable[[onnx.ModelProto], onnx.ModelProto],
) -> None:
    mlflow.onnx.save_model(onnx_model(), path, **NO_PACKAGES)
    starred = path / "*" / "_ORT_MEM_ADDR_"
    starred.mkdir(parents=True)
    (starred / "*").write_text("")
    (path.parent / "x").write_text("")
    (path / "model.onnx").write_bytes(place(external(location)).SerializeToString())
    assert "model.onnx has tensors in what is no file" in denial(path, settings)


def test_onnx_with_tensors_beside_it(path: Path) -> None:
    mlflow.onnx.save_model(onnx_model(), path, **NO_PACKAGES)
    (path / "weights").write_bytes(bytes(8))
    (path / "model.onnx").write_bytes(external("weights").SerializeToString())
    assert classified(path) == {"onnx"}


@pytest.mark.parametrize("content", [b"", b"\x00", b"junk of any kind", b"\x80" * 30, b"0000ORTM"])
def test_what_is_no_onnx(path: Path, settings: Settings, content: bytes) -> None:
    mlflow.onnx.save_model(onnx_model(), path, **NO_PACKAGES)
    (path / "model.onnx").write_bytes(content)
    assert "model.onnx can't be read as ONNX" in denial(path, settings)


def test_onnx_with_a_node_that_reads_files(path: Path, settings: Settings) -> None:
    mlflow.onnx.save_model(onnx_model(), path, **NO_PACKAGES)
    model = onnx_model()
    model.graph.node.append(helper.make_node("EPContext", [], ["z"], domain="com.microsoft"))
    (path / "model.onnx").write_bytes(model.SerializeToString())
    assert "has a node that reads files" in denial(path, settings)


def test_names_in_messages_are_bounded_and_on_one_line(path: Path) -> None:
    save_sklearn(path, "skops")
    (path / f"a\n{'b' * 200}.pkl").write_text("")
    (use,) = (use for use in formats.classify(path, mlmodel_of(path)) if use.format == "pickle")
    assert use == FormatUse("pickle", f"a?{'b' * 98}…")


def test_a_folder_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    flavors = {"python_function": {"loader_module": "mlflow.sklearn"}}
    with pytest.raises(UnsafeModel, match="can't be read"):
        list(formats.classify(tmp_path / "missing", {"flavors": flavors}))


@pytest.mark.parametrize(
    "line",
    ["./tiny-1.0-py3-none-any.whl", "tiny @ https://example.com/tiny-1.0-py3-none-any.whl"],
)
def test_packages_that_the_model_brings_are_code(path: Path, settings: Settings, line: str) -> None:
    save_sklearn(path, "skops")
    (path / "tiny-1.0-py3-none-any.whl").write_text("")
    (path / "requirements.txt").write_text(f"{line}\n")
    assert "requirements.txt line 1 gives the location of a package" in denial(path, settings)


@pytest.mark.parametrize("option", ["--index-url https://x.example", "--find-links ./wheels"])
def test_places_of_packages_that_the_model_names_are_code(
    path: Path, settings: Settings, option: str
) -> None:
    save_sklearn(path, "skops")
    (path / "requirements.txt").write_text(f"{option}\n")
    needed = read(path, mlmodel_of(path))
    policy_of = dataclasses.replace(settings, allowed_formats=("skops",), no_index=False)
    with pytest.raises(StartupError, match=r"PolicyDenied: --[a-z-]+ in the model's requirements"):
        policy.check(policy_of, needed)
    with_code = dataclasses.replace(policy_of, allowed_formats=("skops", "code"))
    policy.check(dataclasses.replace(with_code, find_links=(str(path),)), needed)


# The switch


@pytest.fixture
def switch(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str | None]:
    monkeypatch.setenv(SWITCH, "true")
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "15")
    return lambda: os.environ.get(SWITCH)


@pytest.mark.parametrize(
    ("found", "allowed", "value"),
    [
        ({"onnx"}, ("onnx",), "false"),
        ({"skops"}, ("skops", "onnx"), "true"),
        ({"pickle"}, ("pickle",), "true"),
        ({"onnx"}, ("pickle", "onnx"), "true"),
        ({"code"}, ("code",), "false"),
    ],
)
def test_mlflow_refuses_pickles_where_they_are_not_allowed(
    settings: Settings,
    switch: Callable[[], str | None],
    found: set[str],
    allowed: tuple[str, ...],
    value: str,
) -> None:
    restricted = dataclasses.replace(settings, allowed_formats=allowed)
    settings.model_dir.mkdir(exist_ok=True)
    pickle_switch.note(settings, found)
    pickle_switch.apply(restricted)
    assert switch() == value
    assert ("DATABRICKS_RUNTIME_VERSION" in os.environ) == ("pickle" in allowed)


@pytest.mark.parametrize("noted", [None, set(), {"pickle"}, {"onnx", "code"}])
def test_a_server_needs_the_note(
    settings: Settings, switch: Callable[[], str | None], noted: set[str] | None
) -> None:
    settings.model_dir.mkdir(exist_ok=True)
    if noted is not None:
        pickle_switch.note(settings, noted)
    with pytest.raises(StartupError, match="PolicyDenied"):
        pickle_switch.apply(dataclasses.replace(settings, allowed_formats=("onnx", "skops")))
    pickle_switch.apply(settings)
    assert switch() == "true"


def test_a_model_that_was_prepared_is_checked_again(
    path: Path, settings: Settings, switch: Callable[[], str | None]
) -> None:
    save_xgboost(path)
    restricted = dataclasses.replace(settings, model_uri=str(path), allowed_formats=("xgboost",))
    prepare(restricted)
    assert switch() == "false"
    assert (settings.model_dir / "formats").read_text() == "xgboost"
    (path / "more.pkl").write_text("")
    assert "more.pkl" in denial(path, settings, "xgboost")
    assert not (settings.model_dir / "formats").exists()


def test_versions_that_the_rules_were_made_for() -> None:
    bounds = server_packages.bounds(Settings(allowed_formats=("skops",)))
    assert str(bounds["mlflow"].specifier) == ">=3.17"
    assert "skops" in bounds
    assert "mlflow" not in server_packages.bounds(Settings(allowed_formats=("pickle",)))


@pytest.mark.parametrize("text", [" ", "onnx pikle", "ONNX", "onnx,skops"])
def test_names_that_are_no_formats(text: str) -> None:
    with pytest.raises(
        SettingsError, match=r"ALLOWED_FORMATS is .*: write some of onnx safetensors"
    ):
        from_environment({"ALLOWED_FORMATS": text})


def test_the_list_is_read() -> None:
    assert from_environment({"ALLOWED_FORMATS": "onnx skops"}).allowed_formats == ("onnx", "skops")
    assert from_environment({"ALLOWED_FORMATS": ""}).allowed_formats == ()
