"""Where something that points at images belongs: one rule for contours, segments, coordinates and graphics.

Frame of reference first. Geometry second: do the positions lie on these slices? Listed UIDs last, as the
tie-break between stacks that both fit, and never against geometry. What was drawn in another frame of
reference is placed there or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from dicom_io.prompts.image_planes import ImagePlane, LooseImage, ReferencedImages, header_plane
from workflow.domain.geometry import FloatArray
from workflow.domain.series import StackKey

# A drawing lies in a plane of the slices if its points are no further apart along them, in slices.
PLANE_TOLERANCE = 0.5
# A position this near a slice's centre, in slices, was drawn on that slice.
ON_SLICE = 0.05
# Images whose normals' cosine is this near to 1 are parallel (2.5 degrees).
SAME_DIRECTION = 1e-3
# What belongs to a stack lies on it with at least this share of its planes; the rest is dropped and said.
LEAST_SHARE = 0.5


class NotPlacedError(Exception):
    """Why an item can't be placed on the images; becomes a `PromptProblem`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Home:
    """The stack that something was drawn on.

    Attributes
    ----------
    by
        The evidence, for the worksheet.
    doubt
        Why a person has to look at the choice; "" where it is certain.
    note
        What was found on the way; "" where nothing is worth saying.
    """

    images: ReferencedImages
    by: str
    doubt: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """How well planes fit a stack: shares from 0 to 1 that lie inside it, along its slices, on a slice."""

    images: ReferencedImages
    inside: float
    parallel: float
    on_slice: float

    @property
    def evidence(self) -> tuple[bool, float, float]:
        """What tells two fitting stacks apart by geometry and kind, without a preference of ours."""
        return self.images.series.left_out is None, self.inside, self.on_slice

    @property
    def rank(self) -> tuple[bool, float, float, float, StackKey]:
        """Sorts the best first: an original, on its slices, fine."""
        is_original, inside, on_slice = self.evidence
        pixel_mm = self.images.volume.spacing_mm[1]
        return not is_original, -inside, -on_slice, pixel_mm, self.images.series.key


@dataclass(frozen=True, kw_only=True)
class ImageIndex:
    """The images of a visit, found by UID, frame of reference and place."""

    images: tuple[ReferencedImages, ...]
    loose: tuple[LooseImage, ...] = field(default=())

    # ------------------------------------------------------------ by UID

    @cached_property
    def _by_sop_instance(self) -> dict[str, list[tuple[ReferencedImages, int]]]:
        found: dict[str, list[tuple[ReferencedImages, int]]] = {}
        for images in self.images:
            for index, source in enumerate(images.slices):
                # A slice that was filled in carries its neighbour's UID.
                if getattr(source, "is_interpolated", False):
                    continue
                found.setdefault(source.sop_instance_uid, []).append((images, index))
        for places in found.values():
            # One UID in two series (key images copied): the one that can be measured on, then the larger.
            places.sort(key=lambda p: (p[0].series.refusal is not None, -len(p[0].slices), p[0].series.key))
        return found

    @cached_property
    def _loose_by_sop_instance(self) -> dict[str, list[LooseImage]]:
        found: dict[str, list[LooseImage]] = {}
        for image in self.loose:
            found.setdefault(image.sop_instance_uid, []).append(image)
        return found

    def slice_of(self, sop_instance_uid: str, frame_number: int | None) -> tuple[ReferencedImages, int]:
        """The volume and slice index of an image's frame.

        Raises
        ------
        NotPlacedError
            If the image isn't here, belongs to no volume, has no such frame, or has several and none is
            named.
        """
        found = self._by_sop_instance.get(sop_instance_uid, [])
        if not found:
            self._refuse_unknown(sop_instance_uid)
        first, index = found[0]
        here = [place for place in found if place[0] is first]
        if len(here) == 1 and frame_number in (None, 1, first.slices[index].frame_number):
            return first, index
        for images, index in found:
            if frame_number is not None and images.slices[index].frame_number == frame_number:
                return images, index
        wanted = "no frame" if frame_number is None else f"frame {frame_number}"
        raise NotPlacedError(f"it names {wanted} of image {sop_instance_uid}, which has {len(here)} here")

    def _refuse_unknown(self, sop_instance_uid: str) -> None:
        loose = self._loose_by_sop_instance.get(sop_instance_uid)
        if loose:
            series = loose[0].series
            raise NotPlacedError(
                f"it was drawn on {series.name}, which can't be measured on: {series.refusal}"
            )
        raise NotPlacedError(
            f"it refers to image {sop_instance_uid}, which none of the series at hand has ({self.names})"
        )

    def plane_of(self, sop_instance_uid: str, frame_number: int | None) -> ImagePlane:
        """The plane of an image's frame, also of one that belongs to no volume; raises as `slice_of` does."""
        if sop_instance_uid not in self._by_sop_instance:
            for image in self._loose_by_sop_instance.get(sop_instance_uid, ()):
                is_named = frame_number is None or image.frame_number in (None, frame_number)
                if is_named and image.affine is not None and image.size is not None:
                    rows, columns = image.size
                    return ImagePlane(
                        sop_instance_uid=sop_instance_uid, series=image.series, affine=image.affine,
                        rows=rows, columns=columns,
                    )  # fmt: skip
        images, index = self.slice_of(sop_instance_uid, frame_number)
        volume, source = images.volume, images.slices[index]
        _, rows, columns = volume.shape
        header = header_plane(getattr(source, "path", None), source.frame_number or 1)
        if header is not None:
            affine, rows, columns = header
        else:
            affine = volume.affine.copy()
            affine[:3, 3] = volume.lps(np.array([index, 0, 0]))
        return ImagePlane(
            sop_instance_uid=sop_instance_uid, series=images.series, affine=affine, rows=rows, columns=columns
        )

    def holds(self, sop_instance_uid: str) -> bool:
        """Whether the image is at hand, with or without a volume."""
        return sop_instance_uid in self._by_sop_instance or sop_instance_uid in self._loose_by_sop_instance

    # ------------------------------------------------------------ by frame of reference and place

    def home(
        self,
        frame_of_reference_uid: str | None,
        drawn: Sequence[FloatArray],
        *listed: Iterable[str],
    ) -> Home:
        """The stack that something was drawn on; this is the only place where that is decided.

        Parameters
        ----------
        frame_of_reference_uid
            Of the drawn thing; empty where its object says nothing.
        drawn
            Its planes (contours, frames) or its points, LPS mm, each of shape (n, 3).
        listed
            SOP Instance UIDs or Series Instance UIDs that the object lists, the most specific list first
            (a contour's own image before the structure set's).

        Raises
        ------
        NotPlacedError
            If no stack of the frame of reference holds the place, or only one that must not be measured on.
        """
        tiers = [list(dict.fromkeys(uids)) for uids in listed]
        candidates = self._in_frame(frame_of_reference_uid or "", tiers)
        fits = [fit for fit in (_fit(drawn, images) for images in candidates) if fit.inside >= LEAST_SHARE]
        if not fits:
            raise NotPlacedError(_nowhere(drawn, candidates))
        usable = [fit for fit in fits if fit.images.series.refusal is None]
        if not usable:
            series = fits[0].images.series
            raise NotPlacedError(
                f"it lies on {series.name} only, which can't be measured on: {series.refusal}"
            )
        along = [fit for fit in usable if fit.parallel >= LEAST_SHARE] or usable
        named, was_listed = self._most_listed(along, tiers)
        best, *others = sorted(named, key=lambda fit: fit.rank)
        equal = [fit.images.series for fit in others if fit.evidence == best.evidence]
        is_guess = bool(equal)
        by = "frame of reference and geometry" + (" and listed UIDs" if was_listed else "")
        doubt = ""
        if is_guess:
            names = ", ".join(series.name for series in equal[:3])
            doubt = (
                f"it fits {best.images.series.name} and as well {names}; the first is taken, "
                "so say on which it was drawn"
            )
        return Home(images=best.images, by=by, doubt=doubt, note=self._against(best, tiers, was_listed))

    def home_on(self, plane: ImagePlane, drawn: Sequence[FloatArray]) -> Home:
        """The home of what was drawn on an image; of an image that can't be measured on, a stack beside it.

        Raises
        ------
        NotPlacedError
            As `home`; or if the image is a projection across the slices, so that the depth is not known.
        """
        series = plane.series
        home = self.home(
            series.frame_of_reference_uid, drawn, [plane.sop_instance_uid], [series.series_instance_uid]
        )
        if series.refusal is None:
            return home
        across = abs(float(plane.affine[:3, 0] @ home.images.volume.directions[:, 0]))
        if across < 1 - SAME_DIRECTION:
            raise NotPlacedError(
                f"it was drawn on {series.name} ({series.refusal}), which doesn't tell how deep it lies"
            )
        doubt = (
            f"it was drawn on {series.name} ({series.refusal}) and is measured at the same place on "
            f"{home.images.series.name}; look whether that shows it"
        )
        return replace(home, doubt=doubt)

    def _in_frame(self, frame: str, tiers: Sequence[Sequence[str]]) -> list[ReferencedImages]:
        """The stacks of a frame of reference; where none is named, of the frame of what is listed."""
        frames = {frame}
        if not frame:
            named = {images.series.frame_of_reference_uid or "" for images in self._listed(tiers)}
            every = {images.series.frame_of_reference_uid or "" for images in self.images}
            frames = named if len(named) == 1 else every if len(every) == 1 else set()
        found = [images for images in self.images if (images.series.frame_of_reference_uid or "") in frames]
        if frames == {""} and len(found) > 1:
            # Without a frame of reference every series is a frame of its own.
            found = self._listed(tiers)
        if found:
            return found
        if frame:
            # Images without a frame of reference contradict none: what lists them may lie on them.
            bare = [images for images in self._listed(tiers) if not images.series.frame_of_reference_uid]
            if bare:
                return bare
        loose = [image.series for image in self.loose if image.series.frame_of_reference_uid == frame]
        if frame and loose:
            raise NotPlacedError(
                f"it lies on {loose[0].name}, which can't be measured on: {loose[0].refusal}"
            )
        listed = self._listed(tiers)
        although = f", although it lists images of {listed[0].series.name}" if listed else ""
        raise NotPlacedError(
            f"it is in frame of reference {frame or '(none named)'}, unlike all series at hand "
            f"({self.names}){although}"
        )

    def _listed(self, tiers: Sequence[Sequence[str]]) -> list[ReferencedImages]:
        """The stacks that any list names, those of the most specific list that names one."""
        for tier in tiers:
            counts = self._counts(tier)
            found = [images for images in self.images if counts.get(images.series.key)]
            if found:
                return found
        return []

    def _most_listed(self, fits: Sequence[_Fit], tiers: Sequence[Sequence[str]]) -> tuple[list[_Fit], bool]:
        """The fits that the most specific list names most often; all, and False, where no list names any."""
        for tier in tiers:
            counts = self._counts(tier)
            most = max((counts.get(fit.images.series.key, 0) for fit in fits), default=0)
            if most:
                return [fit for fit in fits if counts.get(fit.images.series.key) == most], True
        return list(fits), False

    def _counts(self, uids: Iterable[str]) -> Mapping[StackKey, int]:
        """How many of these images (or series) each stack has."""
        counts: dict[StackKey, int] = {}
        for uid in uids:
            keys = {images.series.key for images, _ in self._by_sop_instance.get(uid, ())}
            keys |= self._keys_by_series.get(uid, set())
            for key in keys:
                counts[key] = counts.get(key, 0) + 1
        return counts

    @cached_property
    def _keys_by_series(self) -> dict[str, set[StackKey]]:
        found: dict[str, set[StackKey]] = {}
        for images in self.images:
            found.setdefault(images.series.series_instance_uid, set()).add(images.series.key)
        return found

    def _against(self, best: _Fit, tiers: Sequence[Sequence[str]], was_listed: bool) -> str:
        """Say so where the lists name images at hand that the positions do not lie on."""
        if was_listed:
            return ""
        named = {images.series.key: images.series.name for images in self._listed(tiers)}
        for uid in (uid for tier in tiers for uid in tier):
            for image in self._loose_by_sop_instance.get(uid, ()):
                named.setdefault(image.series.key, image.series.name)
        if not named or best.images.series.key in named:
            return ""
        return (
            f"it lists images of {', '.join(list(named.values())[:3])}; by its positions it lies on "
            f"{best.images.series.name}"
        )

    @property
    def names(self) -> str:
        """The series at hand, for a message."""
        named = [
            f"{images.series.modality} series {images.series.series_instance_uid}"
            for images in self.images[:3]
        ]
        more = f" and {len(self.images) - 3} more" if len(self.images) > 3 else ""
        return ", ".join(named) + more if named else "no series"


def _fit(drawn: Sequence[FloatArray], images: ReferencedImages) -> _Fit:
    volume = images.volume
    limit = np.asarray(volume.shape) - 0.5
    inside, parallel, on_slice = [], [], []
    for points in drawn:
        index = volume.ijk(points)
        centre = index.mean(axis=0)
        inside.append(bool(np.all((centre >= -0.5 - 1e-3) & (centre <= limit + 1e-3))))
        parallel.append(float(np.ptp(index[:, 0])) <= PLANE_TOLERANCE)
        on_slice.append(inside[-1] and abs(centre[0] - round(centre[0])) <= ON_SLICE)
    shares = [round(float(np.mean(values)), 2) if values else 0.0 for values in (inside, parallel, on_slice)]
    return _Fit(images=images, inside=shares[0], parallel=shares[1], on_slice=shares[2])


def _nowhere(drawn: Sequence[FloatArray], candidates: Sequence[ReferencedImages]) -> str:
    x, y, z = np.mean([points.mean(axis=0) for points in drawn], axis=0) if drawn else (0.0, 0.0, 0.0)
    named = ", ".join(
        f"{images.series.modality} series {images.series.series_instance_uid}" for images in candidates[:3]
    )
    centre = f"({x:.1f}, {y:.1f}, {z:.1f}) mm"
    return f"its centre {centre} lies outside all series of its frame of reference ({named})"


def inside_of(points_lps: FloatArray, images: ReferencedImages) -> bool:
    """Whether the centre of points (n, 3), LPS mm, lies in a stack, half a slice at its ends included."""
    return _fit([points_lps], images).inside == 1.0
