// Opens a study, or two dates side by side, in the real OHIF and tells what a reader would see; JSON on the last line.
// On stdin: {"url", "dates": [{"study", "series": {"seg", "sr", "course"}, "lesions": [{"label", "points": [[x, y, z], ...]}]}],
// "picture": a file for how it looked}.
// A series is named by its Series Description; what is not asked for is not opened. The colours of a mask are
// told at the points given, with the mask shown and hidden.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import puppeteer from 'puppeteer-core';

const PATIENCE_MS = Number(process.env.TUMORLINE_OHIF_PATIENCE_S ?? 180) * 1000;
// A mask that is drawn has gone from the screen within this, or it was not drawn.
const REDRAWN_MS = 10_000;
const QUESTION_MS = 1500;
let waited_ms = 0;

async function pause(ms) {
  waited_ms += ms;
  await new Promise((resolve) => setTimeout(resolve, ms));
}

async function until(what, ask) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const answer = await ask().catch(() => null);
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`);
    await pause(200);
  }
}

// The viewports of the dates' images: the first ones, in the order that the dates are asked for.
async function open(browser, job) {
  const page = await browser.newPage();
  const studies = job.dates.map((date) => `StudyInstanceUIDs=${date.study}`).join('&');
  const protocol = job.dates.length > 1 ? '&hangingprotocolId=@ohif/hpCompare' : '';
  await page.goto(`${job.url}/viewer?${studies}${protocol}`, { timeout: PATIENCE_MS });
  const viewports = await until('the images of every date are drawn', () =>
    page.evaluate((wanted) => {
      const { viewportGridService, cornerstoneViewportService } = window.services;
      const ids = [...viewportGridService.getState().viewports.keys()].slice(0, wanted.length);
      const shown = ids.map((id) => cornerstoneViewportService.getCornerstoneViewport(id)?.getCurrentImageId?.());
      return shown.length === wanted.length && shown.every((image, n) => image?.includes(wanted[n])) && ids;
    }, job.dates.map((date) => date.study))
  );
  await until('OHIF offers its tour', () => press(page, 'Skip all'));
  return { page, viewports };
}

async function press(page, words) {
  const found = await page.evaluateHandle((wanted) => {
    const named = [...document.querySelectorAll('button')].filter((b) => b.textContent.trim() === wanted);
    return named.find((button) => button.getClientRects().length) ?? null;
  }, words);
  const button = found.asElement();
  if (button) await button.click();
  return Boolean(button);
}

// A double click on the series in the panel; where OHIF asks whether to load it, the answer is yes.
async function load(page, viewport, study, description, isThere) {
  const thumbnail = await until(`${description} is in the panel`, async () => {
    const found = await page.evaluateHandle(
      (uid, words) => {
        const series = window.services.displaySetService
          .getActiveDisplaySets()
          .find((one) => one.StudyInstanceUID === uid && one.SeriesDescription === words);
        return series ? document.getElementById(`thumbnail-${series.displaySetInstanceUID}`) : null;
      },
      study,
      description
    );
    return found.asElement();
  });
  await page.evaluate((id) => window.services.viewportGridService.setActiveViewportId(id), viewport);
  await thumbnail.scrollIntoView();
  await thumbnail.click({ count: 2 });
  // OHIF asks a moment after it has shown what it asks about.
  let answered = Date.now();
  await until(`${description} of ${study} is loaded`, async () => {
    if ((await press(page, 'Yes')) || !(await isThere())) answered = Date.now();
    return Date.now() - answered > QUESTION_MS;
  });
}

// The segments that the panel lists, with the voxels that OHIF has in memory and draws: the numbers that the
// panel can show beside them are not made where two dates stand side by side.
async function segments(page, viewport, date) {
  const found = () =>
    page.evaluate((id) => {
      const { segmentationService } = window.services;
      const shown = segmentationService.getSegmentationRepresentations(id).map((one) => one.segmentationId);
      return [...new Set(shown)].flatMap((uid) => {
        const { segments: listed, representationData } = segmentationService.getSegmentation(uid);
        const voxels = {};
        for (const image of representationData.Labelmap.imageIds) {
          for (const value of window.cornerstone.cache.getImage(image).voxelManager.getScalarData()) {
            if (value) voxels[value] = (voxels[value] ?? 0) + 1;
          }
        }
        return Object.values(listed).map((segment) => ({
          segmentation: uid,
          index: segment.segmentIndex,
          label: segment.label,
          voxels: voxels[segment.segmentIndex] ?? 0,
        }));
      });
    }, viewport);
  await load(page, viewport, date.study, date.series.seg, async () => (await found()).length);
  const listed = await found();
  const drawn = {};
  for (const lesion of date.lesions) {
    const segment = listed.find((one) => one.label === lesion.label);
    if (!segment) continue;
    // Hidden first: then what follows has to be another picture, however late OHIF draws the mask.
    await show(page, viewport, segment, false);
    await page.evaluate(
      ({ segmentation, index }) => window.services.segmentationService.jumpToSegmentCenter(segmentation, index),
      segment
    );
    await until(`${date.study} is shown where ${lesion.label} is`, () => isOn(page, viewport, lesion.points[0]));
    // Each picture with its own places: OHIF opens a panel beside the viewports while it is looked at.
    const look = async (name, before) => {
      const picture = await settled(page, viewport, before);
      const at = await places(page, viewport, lesion.points);
      drawn[lesion.label] = { ...drawn[lesion.label], [name]: await sampled(page, picture, at) };
      return picture;
    };
    const before = await look('hidden', null);
    await show(page, viewport, segment, true);
    await look('shown', before);
  }
  return { segments: listed, drawn };
}

// Whether a point of the patient lies on the slice that is shown.
async function isOn(page, viewport, point) {
  return page.evaluate(
    (wanted, id) => {
      const { focalPoint, viewPlaneNormal } = window.services.cornerstoneViewportService
        .getCornerstoneViewport(id)
        .getCamera();
      const off = wanted.reduce((sum, value, axis) => sum + (value - focalPoint[axis]) * viewPlaneNormal[axis], 0);
      return Math.abs(off) < 0.1;
    },
    point,
    viewport
  );
}

// Where points of the patient are in a picture of the viewport.
async function places(page, viewport, points) {
  return page.evaluate(
    (wanted, id) => {
      const shownIn = window.services.cornerstoneViewportService.getCornerstoneViewport(id);
      return wanted.map((point) => shownIn.worldToCanvas(point));
    },
    points,
    viewport
  );
}

async function show(page, viewport, segment, isVisible) {
  await page.evaluate(
    ({ segmentation }, id, wanted) => {
      const { segmentationService } = window.services;
      for (const representation of segmentationService.getSegmentationRepresentations(id, {
        segmentationId: segmentation,
      })) {
        // Not 0, the background that a label map describes: where it is among the hidden, the others stay.
        for (const key of Object.keys(representation.segments).map(Number).filter((number) => number > 0)) {
          segmentationService.setSegmentVisibility(id, segmentation, key, wanted);
        }
      }
    },
    segment,
    viewport,
    isVisible
  );
}

// A picture of the viewport that no longer changes, and is another than the one before where one is given.
async function settled(page, viewport, before = null) {
  const clip = await page.evaluate((id) => {
    const box = window.services.cornerstoneViewportService.getCornerstoneViewport(id).canvas.getBoundingClientRect();
    return { x: box.left, y: box.top, width: box.width, height: box.height };
  }, viewport);
  const end = Date.now() + REDRAWN_MS;
  let last = null;
  for (;;) {
    await pause(250);
    const picture = await page.screenshot({ encoding: 'base64', type: 'png', clip });
    if (picture === last && (picture !== before || Date.now() > end)) return picture;
    last = picture;
  }
}

// Screen colours out of a picture: what a reader sees, whatever draws it.
async function sampled(page, picture, at) {
  return page.evaluate(
    async (data, places) => {
      const image = new Image();
      image.src = `data:image/png;base64,${data}`;
      await image.decode();
      const canvas = new OffscreenCanvas(image.width, image.height);
      const context = canvas.getContext('2d');
      context.drawImage(image, 0, 0);
      return places.map(([x, y]) => [...context.getImageData(Math.round(x), Math.round(y), 1, 1).data.slice(0, 3)]);
    },
    picture,
    at
  );
}

// The words that stand beside each measurement, and the image that the viewport shows with it. OHIF makes the
// measurements of the first report editable; a second study's it shows locked, one after the other.
async function measurements(page, viewport, date) {
  const editable = () =>
    page.evaluate(
      (study) =>
        window.services.measurementService
          .getMeasurements()
          .filter((one) => one.referenceStudyUID === study)
          .map((one) => one.uid),
      date.study
    );
  const look = (uid) =>
    page.evaluate(
      (id, wanted) => {
        const shownIn = window.services.cornerstoneViewportService.getCornerstoneViewport(id);
        const texts = [...shownIn.element.querySelectorAll('[data-annotation-uid]')];
        const own = texts.find((one) => !wanted || one.dataset.annotationUid === wanted);
        const lines = own ? [...own.querySelectorAll('tspan')].map((line) => line.textContent.trim()) : [];
        return { lines, image: shownIn.getCurrentImageId?.() };
      },
      viewport,
      uid
    );
  await load(page, viewport, date.study, date.series.sr, async () =>
    (await editable()).length || (await look(null)).lines.length
  );
  const uids = await editable();
  const found = [];
  for (const uid of uids) {
    await page.evaluate((id, wanted) => window.services.measurementService.jumpToMeasurement(id, wanted), viewport, uid);
    await settled(page, viewport);
    found.push({ ...(await look(uid)), is_editable: true });
  }
  const next = uids.length ? null : await page.$('[data-cy="viewport-action-arrows-right"]');
  for (let number = 0; next && number < date.lesions.length; number += 1) {
    if (number) await next.click();
    await settled(page, viewport);
    found.push({ ...(await look(null)), is_editable: false });
  }
  return found;
}

async function text(page, viewport, date) {
  await load(page, viewport, date.study, date.series.course, () =>
    page.evaluate(() => document.body.innerText.includes('Oncology Measurement Report'))
  );
  return page.evaluate(() => document.body.innerText);
}

async function main() {
  const job = JSON.parse(fs.readFileSync(0, 'utf8'));
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'ohif-profile-'));
  let pictured = () => {};
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    userDataDir: profile,
    protocolTimeout: PATIENCE_MS * 2,
    defaultViewport: { width: 1400, height: 900 },
    // No GPU in CI: WebGL in software, whose drawing is the same.
    args: ['--no-sandbox', '--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader'],
  });
  try {
    const { page, viewports } = await open(browser, job);
    pictured = () => job.picture && page.screenshot({ path: job.picture });
    const seen = job.dates.map(() => ({}));
    const each = async (series, look) => {
      for (const [number, date] of job.dates.entries()) {
        if (date.series[series]) Object.assign(seen[number], await look(viewports[number], date));
      }
    };
    await each('seg', (viewport, date) => segments(page, viewport, date));
    await each('sr', async (viewport, date) => ({ measurements: await measurements(page, viewport, date) }));
    await pictured();
    await each('course', async (viewport, date) => ({ course: await text(page, viewport, date) }));
    console.log(JSON.stringify({ dates: seen, waited_s: waited_ms / 1000 }));
  } catch (error) {
    await pictured();
    throw error;
  } finally {
    await browser.close();
    fs.rmSync(profile, { recursive: true, force: true });
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
