// Reads a SEG and an SR with the viewer's own adapters, as OHIF does, and prints what it would show.
// Usage: node read_results.cjs '{"images": [FILE, ...], "seg": FILE, "sr": FILE}'; JSON on the last line.
import fs from 'node:fs';
import { metaData } from '@cornerstonejs/core';
import { adaptersSEG, adaptersSR } from '@cornerstonejs/adapters';
import dcmjs from 'dcmjs';

const { DicomMessage, DicomMetaDictionary } = dcmjs.data;

function arrayBuffer(path) {
  const bytes = fs.readFileSync(path);
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
}

function read(path) {
  const file = DicomMessage.readFile(arrayBuffer(path));
  const dataset = DicomMetaDictionary.naturalizeDataset(file.dict);
  dataset._meta = DicomMetaDictionary.namifyDataset(file.meta);
  return dataset;
}

// What a frame says of its plane, whether the image is one frame or many.
function planeOf(image, frame) {
  const first = (value) => (Array.isArray(value) ? value[0] : value);
  const shared = first(image.SharedFunctionalGroupsSequence);
  const own = image.PerFrameFunctionalGroupsSequence?.[frame - 1];
  const group = (name) => first(own?.[name] ?? shared?.[name] ?? image);
  const orientation = group('PlaneOrientationSequence').ImageOrientationPatient.map(Number);
  const spacing = group('PixelMeasuresSequence').PixelSpacing.map(Number);
  return {
    frameOfReferenceUID: image.FrameOfReferenceUID,
    rows: image.Rows,
    columns: image.Columns,
    rowCosines: orientation.slice(0, 3),
    columnCosines: orientation.slice(3),
    imageOrientationPatient: orientation,
    imagePositionPatient: group('PlanePositionSequence').ImagePositionPatient.map(Number),
    pixelSpacing: spacing,
    rowPixelSpacing: spacing[0],
    columnPixelSpacing: spacing[1],
  };
}

class Study {
  constructor(paths) {
    this.byImageId = new Map();
    this.imageIdBySop = {};
    for (const path of paths) {
      const image = read(path);
      const frames = Number(image.NumberOfFrames ?? 1);
      for (let frame = 1; frame <= frames; frame += 1) {
        const imageId = `wadors:${image.SOPInstanceUID}/frames/${frame}`;
        this.byImageId.set(imageId, { image, frame });
        this.imageIdBySop[`${image.SOPInstanceUID}:${frame}`] = imageId;
      }
    }
    this.get = this.get.bind(this);
  }

  get imageIds() {
    return [...this.byImageId.keys()];
  }

  get(type, imageId) {
    const known = this.byImageId.get(imageId);
    if (!known) return undefined;
    const { image, frame } = known;
    const modules = {
      instance: () => image,
      frameNumber: () => frame,
      imagePlaneModule: () => planeOf(image, frame),
      generalSeriesModule: () => ({ seriesInstanceUID: image.SeriesInstanceUID, modality: image.Modality }),
      generalImageModule: () => ({ sopInstanceUID: image.SOPInstanceUID }),
      sopCommonModule: () => ({ sopInstanceUID: image.SOPInstanceUID, sopClassUID: image.SOPClassUID }),
      imagePixelModule: () => ({
        rows: image.Rows,
        columns: image.Columns,
        bitsAllocated: 16,
        bitsStored: 16,
        highBit: 15,
        samplesPerPixel: 1,
        pixelRepresentation: 1,
        photometricInterpretation: 'MONOCHROME2',
      }),
    };
    return modules[type]?.();
  }
}

function measurements(path, study) {
  const state = adaptersSR.Cornerstone3D.MeasurementReport.generateToolState(
    read(path),
    study.imageIdBySop,
    study
  );
  return (state.Bidirectional ?? []).map((found) => {
    const { data, metadata } = found.annotation;
    const shown = Object.values(data.cachedStats)[0] ?? {};
    return {
      tracking_uid: found.TrackingUniqueIdentifier,
      label: data.label,
      sites: found.findingSites.map((site) => site.CodeMeaning),
      points_lps: data.handles.points,
      image_id: metadata.referencedImageId ?? null,
      length_mm: shown.length ?? null,
      width_mm: shown.width ?? null,
      unit: shown.unit ?? null,
    };
  });
}

async function segments(path, study) {
  const result = await adaptersSEG.Cornerstone3D.Segmentation.createFromDICOMSegBuffer(
    study.imageIds,
    arrayBuffer(path),
    { metadataProvider: study }
  );
  const counts = {};
  for (const layer of result.labelMapImages) {
    for (const image of layer) {
      for (const value of image.voxelManager.getScalarData()) {
        if (value) counts[value] = (counts[value] ?? 0) + 1;
      }
    }
  }
  return result.segMetadata.data
    .filter((segment) => segment && Number(segment.SegmentNumber) > 0)
    .map((segment) => ({
      number: Number(segment.SegmentNumber),
      label: segment.SegmentLabel,
      tracking_uid: segment.TrackingUID,
      colour: segment.rgba ?? null,
      voxels: counts[Number(segment.SegmentNumber)] ?? 0,
    }));
}

async function main() {
  const job = JSON.parse(process.argv[2]);
  const study = new Study(job.images);
  metaData.addProvider(study.get);
  const shown = {
    measurements: job.sr ? measurements(job.sr, study) : [],
    segments: job.seg ? await segments(job.seg, study) : [],
  };
  console.log(JSON.stringify(shown));
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  }
);
