"""The image that kind's nodes run: kind's own, or one made from Go programs and Debian packages."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import versions
from .baseimage import BASE_IMAGE, ensure_local_base_image, root_filesystem
from .binaries import CLIENTS, NETWORK_PLUGINS, PROGRAMS, ensure_programs, source_folder
from .engine import Engine, build_image, image_exists, lacks_resource_capability
from .errors import ClusterError
from .files import fingerprint, scratch_folder
from .progress import step
from .registry import ensure_pulled, nodes_can_pull, say_built_instead
from .settings import PACKAGE, PROJECT, Settings
from .shell import attempt, capture, run

NODE_PACKAGES = (
    *("systemd", "systemd-sysv", "dbus"),
    *("conntrack", "iptables", "nftables", "iproute2", "ethtool", "util-linux", "mount", "kmod"),
    *("libseccomp2", "pigz", "e2fsprogs", "runc"),
    *("bash", "ca-certificates", "curl", "jq", "procps", "hostname"),
)
NODE_PROGRAMS = ("kubeadm", "kubelet", "kubectl", "containerd", "containerd-shim-runc-v2", "ctr")
FILES_IN_IMAGES = (
    *("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"),
    *("etcd", "coredns", "pause", "metrics-server", "envoy-gateway"),
)
PROGRAMS_IN_NODE = (*NODE_PROGRAMS, *NETWORK_PLUGINS, *FILES_IN_IMAGES)
EXECUTABLE_FOLDERS = ("usr/local/bin", "kind/bin")

ENVOY_IMAGE = f"docker.io/{PROJECT}/envoy:{versions.ENVOY}"
ENVOY_GATEWAY_IMAGE = f"docker.io/{PROJECT}/envoy-gateway:{versions.ENVOY_GATEWAY}"
METRICS_SERVER_IMAGE = f"docker.io/{PROJECT}/metrics-server:{versions.METRICS_SERVER}"


def upstream_node_image(
    settings: Settings, engine: Engine, nodes_pull: Sequence[str]
) -> str | None:
    """Return the node image asked for, or kind's own, if it and what its nodes pull can be had."""
    image = settings.node_image or kind_default_image()
    missing = _first_missing(engine, image, nodes_pull)
    if missing is None:
        return image
    if settings.node_image:
        raise ClusterError(f"NODE_IMAGE needs a registry, but no available registry has {missing}.")
    say_built_instead(missing)
    return None


def _first_missing(engine: Engine, image: str, nodes_pull: Sequence[str]) -> str | None:
    # Once it is here, the cluster is made from it: not another one each time the network is away.
    if image_exists(engine, image):
        return None
    for one in nodes_pull:
        if not nodes_can_pull(engine, one):
            return one
    return None if ensure_pulled(engine, image) else image


def kind_default_image() -> str:
    """Read the node image that this version of kind was released with."""
    source = source_folder("node-tools", "sigs.k8s.io/kind") / "pkg/apis/config/defaults/image.go"
    found = re.search(r'const Image = "([^"]+)"', source.read_text())
    if not found:
        raise ClusterError(f"kind {versions.KIND} names no default node image in {source}.")
    return found.group(1)


def ensure_local_node_image(settings: Settings, engine: Engine) -> str:
    """Return our own node image, built if it isn't there."""
    image = f"{PROJECT}/node:{versions.KUBERNETES}-{_inputs()}"
    if image_exists(engine, image):
        return image
    programs, rootfs = _ingredients(settings, engine)
    with scratch_folder(settings.cache / "images") as folder:
        with step("Building the node's root filesystem", expected=20):
            bare = _build_bare_node(engine, folder, rootfs, programs)
        with step("Building the cluster's images", expected=40):
            contents = _build_component_images(engine, folder, rootfs, programs)
        with step("Adding the images to the node image", expected=40):
            _import_images(engine, folder, bare, contents)
            _commit(engine, image)
    _remove_images(engine, [bare, *contents, *_other_node_images(engine, image)])
    return image


def _ingredients(settings: Settings, engine: Engine) -> tuple[dict[str, Path], str]:
    """All programs that a cluster needs, and the root filesystem, downloaded while they compile."""
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(ensure_programs, settings, (*PROGRAMS_IN_NODE, *CLIENTS))
        ensure_local_base_image(settings, engine)
        rootfs = _ensure_root_filesystem_image(settings, engine)
        return building.result(), rootfs


def _inputs() -> str:
    texts = [path.read_text() for path in sorted((PACKAGE / "node").iterdir())]
    texts += [path.read_text() for path in sorted((PACKAGE / "images").iterdir())]
    # kind brings files of the node's, too.
    kept = [f"{name} {PROGRAMS[name].version}" for name in (*PROGRAMS_IN_NODE, "kind")]
    return fingerprint(
        *texts, *kept, *NODE_PACKAGES, versions.DEBIAN, str(lacks_resource_capability())
    )


def _ensure_root_filesystem_image(settings: Settings, engine: Engine) -> str:
    archive = root_filesystem(settings, "node", NODE_PACKAGES)
    image = f"{PROJECT}/rootfs:{archive.stem}"
    if not image_exists(engine, image):
        with step("Importing the node's root filesystem", expected=10):
            run("docker", "import", archive, image, log="images", env=engine.env)
    return image


def _build_bare_node(engine: Engine, folder: Path, rootfs: str, programs: dict[str, Path]) -> str:
    context = folder / "node"
    _stage_files(context / "files", programs)
    _stage_programs(context / "programs", programs, NODE_PROGRAMS)
    _stage_programs(context / "plugins", programs, NETWORK_PLUGINS)
    shutil.copy(PACKAGE / "node" / "Dockerfile", context)
    image = f"{PROJECT}/bare-node:{versions.KUBERNETES}"
    build_image(engine, image, context, "images", rootfs=rootfs)
    return image


def _stage_files(target: Path, programs: dict[str, Path]) -> None:
    kind = source_folder("node-tools", "sigs.k8s.io/kind")
    _copy_with_modes(kind / "images/base/files", target)
    shutil.copy(PACKAGE / "node" / "import-images.sh", target / "kind/bin")
    (target / "kind/bin/import-images.sh").chmod(0o755)
    manifests = target / "kind/manifests"
    manifests.mkdir()
    shutil.copy(PACKAGE / "node" / "default-storage.yaml", manifests)
    (target / "kind/version").write_text(versions.KUBERNETES)
    _adapt_containerd_config(
        target / "etc/containerd/config.toml", _component_names(programs)["pause"]
    )


def _copy_with_modes(source: Path, target: Path) -> None:
    # Go's module cache keeps no modes: everything in it is read-only, scripts included.
    for path in (path for path in source.rglob("*") if path.is_file()):
        name = path.relative_to(source)
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
        copy.chmod(0o755 if str(name.parent) in EXECUTABLE_FOLDERS else 0o644)


def _adapt_containerd_config(path: Path, pause: str) -> None:
    text = adapted_containerd_config(path.read_text(), pause, softened=lacks_resource_capability())
    path.write_text(text)


def adapted_containerd_config(text: str, pause: str, *, softened: bool) -> str:
    """Name our pause image; where a capability is missing, ask for no OOM score that needs it."""
    text = re.sub(r'sandbox_image = "[^"]*"', f'sandbox_image = "{pause}"', text)
    if softened:
        text = text.replace("restrict_oom_score_adj = false", "restrict_oom_score_adj = true")
    return text


def _stage_programs(target: Path, programs: dict[str, Path], names: Iterable[str]) -> None:
    target.mkdir(parents=True)
    for name in names:
        # A link where the file systems allow: these are hundreds of megabytes.
        try:
            (target / name).hardlink_to(programs[name])
        except OSError:
            shutil.copy(programs[name], target / name)


def _component_names(programs: dict[str, Path]) -> dict[str, str]:
    """Ask kubeadm which image names it will use, so that ours carry the same."""
    listed = capture(
        *(programs["kubeadm"], "config", "images", "list"),
        f"--kubernetes-version={versions.KUBERNETES}",
    )
    return component_names(listed)


def component_names(listed: str) -> dict[str, str]:
    """Map a program's name to the image that kubeadm expects it in.

    >>> component_names("example.com/coredns/coredns:v1.2.3")
    {'coredns': 'example.com/coredns/coredns:v1.2.3'}
    """
    return {line.rpartition("/")[2].partition(":")[0]: line for line in listed.split()}


def _build_component_images(
    engine: Engine, folder: Path, rootfs: str, programs: dict[str, Path]
) -> list[str]:
    names = _component_names(programs) | {
        "metrics-server": METRICS_SERVER_IMAGE,
        "envoy-gateway": ENVOY_GATEWAY_IMAGE,
    }
    for program in FILES_IN_IMAGES:
        # kube-proxy calls iptables; everything else is one static file.
        base = rootfs if program == "kube-proxy" else "scratch"
        _build_program_image(engine, folder / program, names[program], base, programs)
    _build_envoy_image(engine)
    return [*(names[program] for program in FILES_IN_IMAGES), ENVOY_IMAGE]


def _build_program_image(
    engine: Engine, context: Path, image: str, base: str, programs: dict[str, Path]
) -> None:
    name = context.name
    _stage_programs(context, programs, [name])
    (context / "Dockerfile").write_text(program_dockerfile(name, base))
    build_image(engine, image, context, "images")


def program_dockerfile(name: str, base: str) -> str:
    """Write the Dockerfile of an image with one program."""
    return (
        f"FROM {base}\n"
        "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
        f"COPY {name} /usr/local/bin/{name}\n"
        f'ENTRYPOINT ["/usr/local/bin/{name}"]\n'
    )


def _build_envoy_image(engine: Engine) -> None:
    run(
        *("docker", "build", "--tag", ENVOY_IMAGE, f"--build-arg=BASE={BASE_IMAGE}"),
        *("--file", PACKAGE / "images" / "envoy.Dockerfile", PACKAGE / "images"),
        log="images",
        env=engine.env,
    )


IMPORTER = f"{PROJECT}-image-import"


def _import_images(engine: Engine, folder: Path, bare: str, images: list[str]) -> None:
    archive = folder / "images.tar"
    run("docker", "save", "--output", archive, *images, log="images", env=engine.env)
    # An interrupted run may have left its container.
    attempt("docker", "rm", "--force", IMPORTER, env=engine.env)
    run(
        *(
            "docker",
            "run",
            "--name",
            IMPORTER,
            "--privileged",
            f"--volume={archive}:/images.tar:ro",
        ),
        *("--entrypoint", "/kind/bin/import-images.sh", bare, "/images.tar"),
        log="images",
        env=engine.env,
    )


def _commit(engine: Engine, image: str) -> None:
    entrypoint = '--change=ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]'
    run(
        "docker",
        "commit",
        entrypoint,
        "--change=CMD []",
        IMPORTER,
        image,
        log="images",
        env=engine.env,
    )
    attempt("docker", "rm", "--force", IMPORTER, env=engine.env)


def _other_node_images(engine: Engine, image: str) -> list[str]:
    repository = image.partition(":")[0]
    listed = capture(
        *("docker", "image", "ls", "--format={{.Repository}}:{{.Tag}}", repository), env=engine.env
    )
    return [name for name in listed.split() if name != image]


def _remove_images(engine: Engine, images: list[str]) -> None:
    # Ours carry upstream's names, which nobody should run by mistake from an engine of their own;
    # older node images only take room. One that is in use stays.
    for image in images:
        attempt("docker", "image", "rm", image, env=engine.env)
