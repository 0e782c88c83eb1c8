"""`tumorline models`: which models there are, their licences and limits, and their weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflow.commands._exit import done
from workflow.commands._shared import ConfigOption, JsonOption, messages, print_json, results, table

if TYPE_CHECKING:
    from models.catalogue import CatalogueEntry

NameArgument = Annotated[str, typer.Argument(help="As `tumorline models list` has it.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    models = typer.Typer(help="Models: list, show, verify, convert and fetch.", no_args_is_help=True)
    models.command("list")(list_command)
    models.command("show")(show_command)
    models.command("verify")(verify_command)
    models.command("convert")(convert_command)
    models.command("fetch")(fetch_command)
    app.add_typer(models, name="models")


def list_command(
    kind: Annotated[
        str | None, typer.Option(help="segmenter, tracker, localizer or detector; all if left out.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the models: what they do, their licence, and whether this site can open them.

    Examples:

        tumorline models list

        tumorline models list --kind tracker --json | jq '.[].name'
    """
    described = list_models(_allowed(config), kind)
    if as_json:
        print_json(described)
        return
    rows = [
        (
            one["name"],
            one["version"],
            ", ".join(one["kinds"]),
            one["licence"],
            one["status"],
        )
        for one in described
    ]
    results.print(table("models", ["name", "version", "kinds", "licence", "status"], rows))


def show_command(name: NameArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show one model: prompts, limits, licence, and where to get its weights.

    Examples:

        tumorline models show medsam2
    """
    described = describe(_entry(name), _allowed(config))
    if as_json:
        print_json(described)
        return
    rows: list[tuple[str, Any]] = [
        (key, _cell(value)) for key, value in described.items() if key not in ("limits", "weights")
    ]
    rows += [("limit", limit) for limit in described["limits"]]
    rows += [("weight file", _weight_cell(one)) for one in described["weights"]]
    results.print(table(described["title"], ["", ""], rows))


def verify_command(
    name: NameArgument,
    weights: Annotated[Path, typer.Argument(help="File or folder of the weights.", exists=True)],
    record: Annotated[
        bool, typer.Option("--record", help="Record the digests in SHA256SUMS beside the files.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare weight files with the publisher's SHA-256, or with the one this site recorded.

    Exit code 1: a file differs or is missing; the model is not opened with it.

    Examples:

        tumorline models verify medsam weights/medsam_vit_b.pth

        tumorline models verify lesionlocator LesionLocatorCheckpoint/ --record
    """
    checks = verify_weights(name, weights, record=record)
    if as_json:
        print_json(checks)
    else:
        rows = [(one["path"], one["says"], one["sha256"]) for one in checks]
        results.print(table(f"weights of {name}", ["file", "", "SHA-256"], rows))
    raise typer.Exit(done(needs_a_person=any(one["state"] in ("DIFFERS", "MISSING") for one in checks)))


def convert_command(
    name: NameArgument,
    source: Annotated[Path, typer.Argument(help="The published checkpoint.", exists=True, dir_okay=False)],
    target: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    as_json: JsonOption = False,
) -> None:
    """Rewrite a published checkpoint as safetensors, which can be read without running code.

    Names and shapes are compared when the model is opened. The file remembers what it was made from.

    Examples:

        tumorline models convert medsam medsam_vit_b.pth weights/medsam.safetensors
    """
    made = convert_weights(name, source, target)
    if as_json:
        print_json(made)
    else:
        messages.print(f"{made['target']} written, SHA-256 {made['sha256']}", markup=False)


def fetch_command(
    name: NameArgument,
    to: Annotated[Path, typer.Option("--to", help="Folder for the weights.")],
    sha256: Annotated[
        str | None, typer.Option(help="What the file must have, if the catalogue does not know it.")
    ] = None,
    trust_first: Annotated[
        bool,
        typer.Option(
            "--trust-first", help="No digest is known: take what comes and record its digest in SHA256SUMS."
        ),
    ] = False,
    url: Annotated[str | None, typer.Option(help="A mirror of this site, instead of the publisher.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Download a model's weights; an interrupted download goes on where it stopped.

    Exit code 3: the connection broke; run it again.

    Examples:

        tumorline models fetch medsam --to weights/ --trust-first

        tumorline models fetch medsam2 --to weights/ --url https://mirror.local/MedSAM2.pt --sha256 8d5e
    """
    with messages.status(f"fetching {name}") as status:
        fetched = fetch_weights(
            name,
            to,
            sha256=sha256,
            trust_first=trust_first,
            url=url,
            allowed_licences=_allowed(config),
            progress=lambda share, what: status.update(f"fetching {name}: {what}"),
        )
    if as_json:
        print_json(fetched)
        return
    for one in fetched:
        messages.print(f"{one['path']} fetched, SHA-256 {one['sha256']}", markup=False)


# ---------------------------------------------------------------- the same, for programs


def list_models(allowed_licences: tuple[str, ...], kind: str | None = None) -> list[dict[str, Any]]:
    """Every model, or those of one kind, as `describe` has them.

    Raises
    ------
    ConfigurationError
        If there is no such kind.
    """
    from models.catalogue import Kind
    from models.registry import entries
    from workflow.domain.errors import ConfigurationError

    if kind is not None and kind not in set(Kind):
        raise ConfigurationError(f"there is no kind '{kind}' of model; there are {', '.join(Kind)}")
    return [
        describe(known, allowed_licences)
        for known in entries().values()
        if kind is None or Kind(kind) in known.factories
    ]


def describe(known: CatalogueEntry, allowed_licences: tuple[str, ...]) -> dict[str, Any]:
    """A catalogue entry as JSON, with `status`: "ready", or what stands in the way."""
    from models.registry import bundled_weights, is_installed

    if known.licence not in allowed_licences:
        status = f"{known.licence} is not in allowed_licences"
    elif not is_installed(known):
        status = f"not installed: pip install 'tumorline[{known.extra}]'"
    else:
        is_ready = not known.needs_weights or bundled_weights(known) is not None
        status = "ready" if is_ready else "needs its weights"
    return {
        "name": known.name,
        "title": known.title,
        "version": known.version,
        "status": status,
        "kinds": [str(kind) for kind in known.kinds],
        "prompts": [str(prompt) for prompt in known.prompts],
        "modalities": list(known.modalities),
        "licence": known.licence,
        "extra": known.extra,
        "origin": known.origin,
        "limits": list(known.limits),
        "weights_page": known.weights_page,
        "weights": [
            {"path": one.path, "url": one.url, "sha256": one.sha256, "size_bytes": one.size_bytes}
            for one in known.weights
        ],
    }


def verify_weights(name: str, weights: Path, *, record: bool = False) -> list[dict[str, str]]:
    """Check (or first record) the digests of weight files; `state` is the name of a `WeightState`."""
    from models.weights import pin, verify

    known = _entry(name)
    if record:
        pin(weights)
    return [
        {"path": str(one.path), "sha256": one.sha256, "state": one.state.name, "says": str(one.state)}
        for one in verify(weights, known)
    ]


def convert_weights(name: str, source: Path, target: Path) -> dict[str, str]:
    """Rewrite a checkpoint as safetensors.

    Raises
    ------
    ConfigurationError
        If the model has no conversion, the target is no .safetensors file, or the source can't be read.
    """
    from models.registry import resolve
    from models.weights import sha256_of
    from workflow.domain.errors import ConfigurationError

    known = _entry(name)
    if known.converter is None:
        raise ConfigurationError(
            f"there is nothing to convert for '{name}': it reads its weights as published"
        )
    if target.suffix != ".safetensors":
        raise ConfigurationError(f"the target {target} has to end in .safetensors")
    resolve(known.converter)(source, target)
    return {"source": str(source), "target": str(target), "sha256": sha256_of(target)}


def fetch_weights(
    name: str,
    to: Path,
    *,
    sha256: str | None = None,
    trust_first: bool = False,
    url: str | None = None,
    allowed_licences: tuple[str, ...] | None = None,
    progress: Any = None,
) -> list[dict[str, str]]:
    """Download a model's weight files into a folder and record their digests there.

    Raises
    ------
    ConfigurationError
        If the licence is not allowed, the publisher offers no direct download, no digest is known and
        `trust_first` is not set, or the checksum is wrong.
    TransientError
        If the connection broke; what has come is kept for the next call.
    """
    from models.fetch import fetch
    from models.registry import check_licence
    from models.weights import pin
    from workflow.domain.errors import ConfigurationError
    from workflow.domain.licences import DEFAULT_ALLOWED_LICENCES
    from workflow.ports import no_progress

    known = _entry(name)
    check_licence(known, allowed_licences or DEFAULT_ALLOWED_LICENCES)
    if not known.needs_weights:
        raise ConfigurationError(f"the model '{name}' needs no weights")
    if (url or sha256) and len(known.weights) != 1:
        raise ConfigurationError(
            f"'{name}' has {len(known.weights)} weight files; fetch them by hand and verify"
        )
    fetched = []
    for one in known.weights:
        source, digest = url or one.url, sha256 or one.sha256
        if source is None:
            raise ConfigurationError(
                f"the publisher of '{name}' offers no direct download: get {one.path} from "
                f"{known.weights_page}, then `tumorline models verify {name} PATH --record`"
            )
        if digest is None and not trust_first:
            raise ConfigurationError(
                f"no SHA-256 is known for {one.path}: give --sha256, or --trust-first to record that of "
                "this download"
            )
        target = to / one.path
        got = fetch(source, target, sha256=digest, progress=progress or no_progress)
        pin(target)
        fetched.append({"path": str(target), "url": source, "sha256": got})
    return fetched


def _entry(name: str) -> CatalogueEntry:
    from models.registry import entry

    return entry(name)


def _allowed(config: Path | None) -> tuple[str, ...]:
    from workflow.settings import load_settings

    return load_settings(config).models.allowed_licences


def _cell(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value or "")


def _weight_cell(weight: dict[str, Any]) -> str:
    where = weight["url"] or "by hand, see weights_page"
    return f"{weight['path']}, {where}, {weight['sha256'] or 'no digest published'}"
