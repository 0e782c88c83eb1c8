"""All settings, read once at start into one frozen object that is passed on.

Sources, the later winning: the defaults here, a TOML file (`--config FILE` or TUMORLINE_CONFIG), environment
variables `TUMORLINE_<NAME>` (nested names with two underscores, e.g. TUMORLINE_LISTENER__PORT).
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from workflow.domain.errors import ConfigurationError
from workflow.domain.licences import DEFAULT_ALLOWED_LICENCES

# Where the pages serve the viewer OHIF, which has to be told when it is installed.
VIEWER_PATH = "/viewer"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NodeTls(_Section):
    """That a node is called over TLS, and how; all paths are PEM files."""

    ca: Path | None = Field(default=None, description="Who signs its certificate. Unset: whom we trust here.")
    certificate: Path | None = Field(default=None, description="Ours, for a node that asks for one.")
    key: Path | None = Field(default=None, description="Its private key. Unset: in the certificate's file.")
    server_name: str = Field(default="", description="The name in its certificate, where not the host.")


class Node(_Section):
    """A DICOM application entity that we talk to."""

    ae_title: str = Field(max_length=16, description="What it is called.")
    host: str = Field(default="127.0.0.1", description="Name or address.")
    port: int = Field(ge=1, le=65535, description="Its DICOM port.")
    tls: NodeTls | None = Field(default=None, description="Unset: plain DICOM.")


class Listener(_Section):
    """Our own DICOM listener."""

    ae_title: str = Field(
        default="TUMORLINE", max_length=16, description="What we are called, also when we call others."
    )
    host: str = Field(default="127.0.0.1", description="The address it listens on; 0.0.0.0 is all of them.")
    port: int = Field(default=11112, ge=1, le=65535, description="Its DICOM port.")
    allowed_calling_ae_titles: tuple[str, ...] = Field(
        default=(), description="AE titles that may send to us; everyone else is refused. Empty: nobody."
    )
    allowed_hosts: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Networks (10.1.0.0/16, one address) by calling AE title; a title without any may call "
        "from everywhere.",
    )
    checks_called_ae_title: bool = Field(
        default=True, description="Whether callers who call us by another AE title are refused."
    )
    processes: int = Field(
        default=1, ge=1, le=64, description="Listeners on the one port, to use more cores."
    )
    maximum_associations: int = Field(
        default=32, ge=1, description="Associations at once in a process; more are refused."
    )
    maximum_associations_per_host: int = Field(
        default=16, ge=1, description="Of these from one address, so that no host shuts the others out."
    )
    request_timeout_s: float = Field(
        default=10.0, gt=0, description="For the whole association request, however slowly it comes."
    )
    idle_timeout_s: float = Field(
        default=60.0, gt=0, description="A silent association, or a PDU that takes longer, is ended."
    )
    maximum_object_mb: int = Field(default=4096, ge=1, description="A longer data set is broken off.")
    minimum_free_mb: int = Field(
        default=1024, description="Below this, C-STORE answers 0xA700 so that the sender retries."
    )
    tls_certificate: Path | None = Field(
        default=None, description="PEM file of our certificate. Set: only DICOM over TLS is spoken."
    )
    tls_key: Path | None = Field(
        default=None, description="Its private key. Unset: in the certificate's file."
    )
    tls_ca: Path | None = Field(
        default=None, description="Who signs callers' certificates. Set: callers without one are refused."
    )

    @field_validator("allowed_hosts")
    @classmethod
    def _are_networks(cls, hosts: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for network in (one for networks in hosts.values() for one in networks):
            ip_network(network, strict=False)  # its ValueError names what is wrong
        return hosts

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Listener:
        if self.tls_certificate is None and (self.tls_key or self.tls_ca):
            raise ValueError("tls_key and tls_ca are of no use without tls_certificate: TLS would be off")
        return self


class Archive(_Section):
    """The local DICOM archive that stands in for a PACS when no destination is set."""

    ae_title: str = Field(default="ARCHIVE", max_length=16, description="What it is called.")
    port: int = Field(default=11113, ge=1, le=65535, description="Its DICOM port, on 127.0.0.1.")


class Orthanc(_Section):
    """An Orthanc REST endpoint whose `/changes` are followed (needs the extra `orthanc`, GPL-3.0)."""

    url: str = Field(description="e.g. http://127.0.0.1:8042")
    username: str = Field(default="", description="Empty: no login.")
    password: SecretStr = Field(default=SecretStr(""), description="Best given as an environment variable.")
    poll_s: float = Field(default=2.0, gt=0, description="Pause between two looks at the changes.")
    compare_s: float = Field(
        default=3600.0, gt=0, description="Pause between two comparisons of all that it holds with ours."
    )


class Dicomweb(_Section):
    """A DICOMweb server: QIDO-RS, WADO-RS and STOW-RS below one address (needs the extra `dicomweb`)."""

    url: str = Field(description="e.g. http://127.0.0.1:8042/dicom-web")
    username: str = Field(default="", description="Empty: no login.")
    password: SecretStr = Field(default=SecretStr(""), description="Best given as an environment variable.")
    stores_results: bool = Field(default=False, description="Results go there by STOW-RS.")


class Priors(_Section):
    """Which earlier studies of a patient are fetched when one arrives that is new here."""

    method: Literal["", "c-move", "c-get", "dicomweb"] = Field(
        default="",
        description="How: from `pacs` by C-MOVE to our listener or by C-GET, or from `dicomweb`. Empty: not.",
    )
    at_most: int = Field(
        default=3, ge=1, description="For a study that arrived; the newest and the oldest first."
    )
    within_days: int = Field(default=1826, ge=1, description="Older ones are left in the PACS.")
    at_most_instances: int = Field(default=5000, ge=1, description="Larger studies are left in the PACS.")


class Readiness(_Section):
    """When a study counts as received."""

    quiet_s: float = Field(default=120.0, gt=0, description="Silence before a study is looked at.")
    max_wait_s: float = Field(
        default=5400.0, gt=0, description="After this a study goes on, marked incomplete."
    )
    required_modalities: tuple[str, ...] = Field(
        default=(), description="Modalities a study must hold to be complete."
    )


class Prompts(_Section):
    """Which ROIs and segments of others are lesions (docs/prompts.md)."""

    always: tuple[str, ...] = Field(
        default=(), description="Names that are lesions here, whatever the rules say."
    )
    never: tuple[str, ...] = Field(default=(), description="Names that are none.")
    nodes_are_lesions: bool = Field(default=True, description="Whether ROIs named as lymph nodes are taken.")
    fraction: float = Field(
        default=0.5, gt=0, le=1, description="Share from which a FRACTIONAL voxel counts."
    )


class Models(_Section):
    """Which models do the work, and under which licences."""

    segmenter: str = Field(default="weight-free", description="A name of `tumorline models list`.")
    tracker: str = Field(default="weight-free", description="A name of `tumorline models list`.")
    segmenter_weights: Path | None = Field(default=None, description="File or folder of its weights.")
    tracker_weights: Path | None = Field(default=None, description="File or folder of its weights.")
    segmenter_parameters: dict[str, Any] = Field(
        default_factory=dict, description="The model's own; docs/models.md."
    )
    tracker_parameters: dict[str, Any] = Field(
        default_factory=dict, description="The model's own; docs/models.md."
    )
    perturb_prompts_mm: float | None = Field(
        default=None, gt=0, description="Confidence from prompts moved so far, at five times the decoding."
    )
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N.")
    allowed_licences: tuple[str, ...] = Field(
        default=tuple(sorted(DEFAULT_ALLOWED_LICENCES)),
        description="Licences of weights that this site accepts; a model under another is not opened.",
    )


class Response(_Section):
    """The study protocol: criteria and policies (`tumorline recist --explain` lists them)."""

    criteria: str = Field(
        default="recist-1.1", description="By which every patient is judged; docs/recist.md."
    )
    visit_window_days: int = Field(
        default=7, ge=0, description="Studies of other regions within so many days are one visit."
    )
    baseline_window_days: int = Field(
        default=28,
        ge=0,
        description="Regions first looked at so long after the first still belong to the baseline.",
    )
    policy: dict[str, Any] = Field(
        default_factory=dict, description="What the criteria leave open, by name; docs/recist.md."
    )


class Results(_Section):
    """How SEG, SR and PDF are written."""

    segmentation_type: str = Field(
        default="BINARY",
        pattern="^(BINARY|LABELMAP)$",
        description="LABELMAP only where PACS and viewers know it.",
    )
    tracking_identifier: str = Field(
        default="ohif",
        pattern="^(ohif|readable)$",
        description="ohif: OHIF can edit the measurements; readable: the label alone.",
    )
    series_number_start: int = Field(default=9100, description="First Series Number of our results.")
    encapsulated_pdf: bool = Field(default=True, description="Whether the report is also sent as a PDF.")
    secondary_capture: bool = Field(default=False, description="Whether key images are sent as pictures.")
    presentation_state: bool = Field(default=False, description="Axes and labels drawn over the images.")
    course_report: bool = Field(default=True, description="An SR over all time points, in the latest study.")
    verifying_organization: str = Field(
        default="",
        max_length=64,
        description="Whom signers answer to. Unset: the images' institution.",
    )


class Delivery(_Section):
    """When a result counts as delivered."""

    proof: Literal["list", "commitment"] = Field(
        default="list",
        description="list: the destination lists it (C-FIND, QIDO-RS); commitment: it also commits itself.",
    )
    commitment_wait_s: float = Field(
        default=3600.0, gt=0, description="Without an answer after this, the destination's list is the proof."
    )


class Web(_Section):
    """The web page. `username` and `password` open the first account; `tumorline users` makes the others."""

    host: str = Field(default="127.0.0.1", description="The address it listens on.")
    port: int = Field(default=8080, ge=1, le=65535, description="Its port; plain HTTP.")
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description="Names that browsers may ask for, beside `host` and this machine's own (localhost): "
        "the name of the proxy in front. Requests for others are refused.",
    )
    trusted_proxies: tuple[str, ...] = Field(
        default=("127.0.0.1", "::1"),
        description="Proxies (addresses, networks) whose word on the browser's address and on https counts.",
    )
    username: str = Field(
        default="reader", pattern=r"^[^:]+$", description="Name of the first account, an administrator."
    )
    password: SecretStr | None = Field(
        default=None,
        min_length=8,
        description="Its first password, 8 characters or more. Unset: one is made, and kept at home.",
    )
    login: bool = Field(default=True, description="Only the demo turns this off, and only on loopback.")
    largest_upload_mb: int = Field(
        default=256, ge=1, description="Of one instance that is stored over DICOMweb."
    )
    overdue_after_days: int = Field(
        default=120, ge=1, description="A patient whose latest visit is older is overdue on the worklist."
    )
    image_cache_mb: int = Field(
        default=1024, ge=64, description="Memory for the decoded volumes that readers look at, MB."
    )
    session_idle_minutes: float = Field(
        default=60.0, gt=0, description="A login ends after so long without a request."
    )
    session_hours: float = Field(default=12.0, gt=0, description="A login ends so long after it began.")


class Viewer(_Section):
    """The viewer OHIF (`tumorline viewer install`), and where it gets its images from."""

    folder: Path | None = Field(default=None, description="OHIF's files. Unset: viewer in the home folder.")
    dicomweb_url: str = Field(
        default="",
        pattern="^(https?://.+)?$",
        description="DICOMweb of the PACS, as browsers reach it (CORS allowed). Empty: our own, /dicom-web.",
    )


# What is neither inference nor short of it: uploads, reports and delivery never wait for a model.
PIPELINE_QUEUE = "pipeline"


class TimeLimits(_Section):
    """How long a stage may take, in seconds; what takes longer is ended, and its job names that."""

    ingest: float = Field(default=900.0, gt=0, description="Reading a study's headers and marks.")
    fetch: float = Field(default=3600.0, gt=0, description="Having one earlier study sent.")
    infer: float = Field(default=3600.0, gt=0, description="All lesions of one visit.")
    report: float = Field(default=1800.0, gt=0, description="All of a patient's reports that are to be made.")
    board: float = Field(default=1800.0, gt=0, description="A board's packet.")


class Worker(_Section):
    """How jobs are carried out."""

    concurrency: int = Field(default=1, ge=1, description="Jobs of each of its queues at once in one worker.")
    queues: tuple[str, ...] = Field(
        default=(PIPELINE_QUEUE, "inference"),
        min_length=1,
        description="What a worker takes: a GPU worker only inference, the others only pipeline.",
    )
    inference_queue: str = Field(
        default="inference",
        pattern="^[a-z0-9_-]{1,32}$",
        description="Where inference is asked for: a name per model stack, of the workers that have it.",
    )
    time_limit_s: TimeLimits = TimeLimits()
    memory_limit_mb: int = Field(
        default=8192, ge=256, description="Resident memory of a stage's process; above it, it is ended."
    )
    lease_s: float = Field(
        default=60.0, gt=0, description="A worker that is silent for this long has lost its job."
    )
    maximum_losses: int = Field(
        default=3, ge=1, description="A job that kills its worker so often is given up."
    )
    retry_base_s: float = Field(default=5.0, gt=0, description="First wait after something was not there.")
    retry_at_most_s: float = Field(default=600.0, gt=0, description="Waits double up to this, for ever.")
    reconcile_s: float = Field(default=1.0, gt=0, description="Pause between two looks at what is due.")

    @model_validator(mode="after")
    def _inference_has_a_queue_of_its_own(self) -> Worker:
        if self.inference_queue == PIPELINE_QUEUE:
            raise ValueError(
                f"inference_queue can't be {PIPELINE_QUEUE}: everything else would wait for inference"
            )
        known = {PIPELINE_QUEUE, self.inference_queue}
        if unknown := [queue for queue in self.queues if queue not in known]:
            raise ValueError(
                f"nothing is sent to the queue {unknown[0]}; there are {', '.join(sorted(known))}"
            )
        return self


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix="TUMORLINE_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    home: Path = Field(
        default_factory=lambda: Path.home() / ".local" / "share" / "tumorline",
        description="Received files, results, the embedded database and broker.",
    )
    database_url: str = Field(default="", description="Empty: SQLite in the home folder.")
    broker_url: str = Field(
        default="", description="Empty: a broker in the home folder that needs no server."
    )
    listener: Listener = Listener()
    archive: Archive = Archive()
    destination: Node | None = Field(default=None, description="Where results go. Unset: the local archive.")
    pacs: Node | None = Field(
        default=None, description="Asked by C-FIND how many instances a study has. Unset: not asked."
    )
    orthanc: Orthanc | None = None
    dicomweb: Dicomweb | None = None
    priors: Priors = Priors()
    readiness: Readiness = Readiness()
    prompts: Prompts = Prompts()
    models: Models = Models()
    response: Response = Response()
    results: Results = Results()
    delivery: Delivery = Delivery()
    web: Web = Web()
    viewer: Viewer = Viewer()
    worker: Worker = Worker()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file (which comes in as arguments)."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _priors_have_a_source(self) -> Settings:
        if self.priors.method in ("c-move", "c-get") and self.pacs is None:
            raise ValueError(f"priors.method is {self.priors.method}: set pacs, which is asked for them")
        if self.priors.method == "dicomweb" and self.dicomweb is None:
            raise ValueError("priors.method is dicomweb: set dicomweb.url, which is asked for them")
        return self

    @model_validator(mode="after")
    def _results_have_one_home(self) -> Settings:
        if self.destination is not None and self.stores_by_dicomweb:
            raise ValueError("destination and dicomweb.stores_results are both set: results go to one place")
        if self.delivery.proof == "commitment" and self.destination is None:
            raise ValueError("delivery.proof is commitment: set destination, the node that is asked for it")
        return self

    @property
    def resolved_database_url(self) -> str:
        """The database that is used."""
        return self.database_url or f"sqlite:///{self.home / 'tumorline.db'}"

    @property
    def resolved_destination(self) -> Node:
        """The application entity that results are stored at."""
        return self.destination or Node(ae_title=self.archive.ae_title, port=self.archive.port)

    @property
    def uses_local_archive(self) -> bool:
        """Whether the embedded archive stands in for the PACS."""
        return self.destination is None and not self.stores_by_dicomweb

    @property
    def stores_by_dicomweb(self) -> bool:
        """Whether results go to the DICOMweb server."""
        return self.dicomweb is not None and self.dicomweb.stores_results


def load_settings(config: Path | None = None, **overrides: Any) -> Settings:
    """Read the settings once.

    Raises
    ------
    ConfigurationError
        If the file is missing or not TOML, or a value is unknown or out of range; each is named.
    """
    path = config or (Path(p) if (p := os.environ.get("TUMORLINE_CONFIG")) else None)
    values: Mapping[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ConfigurationError(f"there is no configuration file {path}") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"{path} is not TOML: {error}") from error
    _refuse_unknown_variables(os.environ)
    try:
        return Settings(**{**values, **overrides})
    except SettingsError as error:  # its own words name the section alone
        raise ConfigurationError(_which_is_not_json(os.environ)) from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigurationError(
            f"settings do not fit: {wrong} (see `tumorline config --explain`)"
        ) from error


# ---------------------------------------------------------------- variables of the environment

_PREFIX = "TUMORLINE_"
# Read elsewhere than here: where the file is, and what the tests use.
_OTHER_VARIABLES = frozenset(
    f"{_PREFIX}{name}"
    for name in (
        "CONFIG",
        "FAULTS",
        "SHARED",
        "SCREENSHOTS",
        "OHIF",
        "OHIF_PICTURES",
        "OHIF_PATIENCE_S",
        "OHIF_DIST",
    )
)
# Kubernetes and Docker make these up for a service that is called tumorline, or tumorline-web.
_OF_A_CLUSTER = re.compile(r"(_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT(_\d+_(TCP|UDP)(_\w+)?)?)$")


def _sections(kind: Any) -> list[type[BaseModel]]:
    kinds = (kind, *getattr(kind, "__args__", ()))
    return [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]


def _variables(model: type[BaseModel], prefix: str = _PREFIX) -> Iterator[tuple[str, Any]]:
    """Every variable that is a setting or a section of them, with the type of what it holds."""
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name.upper()}"
        yield variable, field.annotation
        for section in _sections(field.annotation):
            yield from _variables(section, f"{variable}__")


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    """Refuse a variable that looks like a setting and is none: what was meant would not be set."""
    known = dict(_variables(Settings))
    tables = tuple(f"{name}__" for name, kind in known.items() if getattr(kind, "__origin__", None) is dict)
    for given in sorted(environment):
        name = given.upper()
        if not name.startswith(_PREFIX) or name in known or name in _OTHER_VARIABLES:
            continue
        if name.startswith(tables) or ("__" not in name and _OF_A_CLUSTER.search(name)):
            continue
        # Without what they all begin with, which would make any two of them alike.
        settings = [one.removeprefix(_PREFIX) for one in known]
        near = difflib.get_close_matches(name.removeprefix(_PREFIX), settings, n=1, cutoff=0.5)
        hint = f"did you mean {_PREFIX}{near[0]}?" if near else "`tumorline config --explain` lists them all"
        raise ConfigurationError(f"{given} is no setting; {hint}")


def _which_is_not_json(environment: Mapping[str, str]) -> str:
    given = {name.upper(): value for name, value in environment.items()}
    for name, kind in _variables(Settings):
        is_list = getattr(kind, "__origin__", None) is tuple
        if name in given and (is_list or getattr(kind, "__origin__", None) is dict or _sections(kind)):
            try:
                json.loads(given[name])
            except ValueError:
                example = '["CT1", "CT2"]' if is_list else '{"name": "value"}'
                return f"{name} has to be JSON, as in {name}='{example}'"
    return "a variable that holds a list or a table is not JSON (see `tumorline config --explain`)"
