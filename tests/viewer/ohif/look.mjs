// Opens one study in the real OHIF and tells what a reader would see; JSON on the last line.
// Usage: node look.mjs '{"url", "study", "prior", "series": {"seg", "sr", "course"}, "lesions": [{"label", "points": [[x, y, z], ...]}]}'
// A series is named by its Series Description; what is not asked for is not opened. The colours of a mask are
// told at the points given, with the mask shown and hidden. With a prior study both are opened side by side.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import puppeteer from 'puppeteer-core';

const PATIENCE_MS = Number(process.env.TUMORLINE_OHIF_PATIENCE_S ?? 180) * 1000;
// A mask that is drawn has gone from the screen within this, or it was not drawn.
const REDRAWN_MS = 10_000;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(what, ask) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const answer = await ask().catch(() => null);
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`);
    await pause(500);
  }
}

async function open(browser, job) {
  const page = await browser.newPage();
  await page.goto(`${job.url}/viewer?StudyInstanceUIDs=${job.study}`, { timeout: PATIENCE_MS });
  await until('the images are drawn', () =>
    page.evaluate(() =>
      window.services.cornerstoneViewportService.getRenderingEngine()?.getViewports()[0]?.getCurrentImageId()
    )
  );
  return page;
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
async function load(page, description, isThere) {
  const thumbnail = await until(`${description} is in the panel`, async () => {
    const found = await page.evaluateHandle((wanted) => {
      const all = [...document.querySelectorAll('[data-cy^="study-browser-thumbnail"]')];
      return all.find((element) => element.textContent.includes(wanted)) ?? null;
    }, description);
    return found.asElement();
  });
  await press(page, 'Skip all');
  await thumbnail.click({ count: 2 });
  await until(`${description} is loaded`, async () => {
    await press(page, 'Yes');
    return isThere();
  });
}

async function segments(browser, job) {
  const page = await open(browser, job);
  await load(page, job.series.seg, () =>
    page.evaluate(() =>
      window.services.segmentationService
        .getSegmentations()
        .some((one) => Object.values(one.segments).some((s) => s.cachedStats?.namedStats?.count))
    )
  );
  const found = await page.evaluate(() =>
    window.services.segmentationService.getSegmentations().flatMap((one) =>
      Object.values(one.segments).map((segment) => ({
        segmentation: one.segmentationId,
        index: segment.segmentIndex,
        label: segment.label,
        voxels: segment.cachedStats?.namedStats?.count?.value ?? null,
        centre: segment.cachedStats?.namedStats?.center?.value ?? null,
      }))
    )
  );
  const drawn = {};
  for (const lesion of job.lesions) {
    const segment = found.find((one) => one.label === lesion.label);
    if (segment) drawn[lesion.label] = await colours(page, segment, lesion.points);
  }
  await page.close();
  return { segments: found, drawn };
}

// What is on the screen at points of the patient, with the mask and without it.
async function colours(page, segment, points) {
  await page.evaluate(({ segmentation, index }) => {
    window.services.segmentationService.jumpToSegmentCenter(segmentation, index);
  }, segment);
  const shown = await settled(page);
  const at = await page.evaluate((wanted) => {
    const { viewportGridService, cornerstoneViewportService } = window.services;
    const viewport = cornerstoneViewportService.getCornerstoneViewport(viewportGridService.getActiveViewportId());
    const box = viewport.canvas.getBoundingClientRect();
    return wanted.map((point) => {
      const [x, y] = viewport.worldToCanvas(point);
      return [box.left + x, box.top + y];
    });
  }, points);
  await visible(page, segment, false);
  const hidden = await settled(page, shown);
  await visible(page, segment, true);
  await settled(page, hidden);
  return { shown: await sampled(page, shown, at), hidden: await sampled(page, hidden, at) };
}

async function visible(page, segment, isVisible) {
  await page.evaluate(
    ({ segmentation }, wanted) => {
      const { segmentationService, viewportGridService } = window.services;
      const viewportId = viewportGridService.getActiveViewportId();
      for (const representation of segmentationService.getSegmentationRepresentations(viewportId, {
        segmentationId: segmentation,
      })) {
        // Not 0, the background that a label map describes: where it is among the hidden, the others stay.
        for (const key of Object.keys(representation.segments).map(Number).filter((number) => number > 0)) {
          segmentationService.setSegmentVisibility(viewportId, segmentation, key, wanted);
        }
      }
    },
    segment,
    isVisible
  );
}

// A picture of the page that no longer changes, and is another than the one before where one is given.
async function settled(page, before = null) {
  const end = Date.now() + REDRAWN_MS;
  let last = null;
  for (;;) {
    await pause(400);
    const picture = await page.screenshot({ encoding: 'base64', type: 'png' });
    if (picture === last && (picture !== before || Date.now() > end)) return picture;
    last = picture;
  }
}

// Screen colours out of a picture of the page: what a reader sees, whatever draws it.
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

// The studies of the images that the viewports show side by side.
async function compared(browser, job) {
  const page = await browser.newPage();
  const studies = `${job.study}&StudyInstanceUIDs=${job.prior}`;
  await page.goto(`${job.url}/viewer?StudyInstanceUIDs=${studies}&hangingprotocolId=@ohif/hpCompare`, {
    timeout: PATIENCE_MS,
  });
  const shown = () =>
    page.evaluate(() => {
      const viewports = window.services.cornerstoneViewportService.getRenderingEngine()?.getViewports() ?? [];
      return viewports.map((viewport) => viewport.getCurrentImageId?.()).filter(Boolean);
    });
  await until('two viewports show images', async () => (await shown()).length > 1);
  const ids = await shown();
  await page.close();
  return ids.map((id) => /studies\/([^/]+)/.exec(id)?.[1] ?? id);
}

async function measurements(browser, job) {
  const page = await open(browser, job);
  await load(page, job.series.sr, () =>
    page.evaluate(() => window.services.measurementService.getMeasurements().length)
  );
  const found = await page.evaluate(() =>
    window.services.measurementService.getMeasurements().map((one) => {
      const shown = Object.values(one.data ?? {})[0] ?? {};
      return {
        uid: one.uid,
        label: one.label,
        image: one.SOPInstanceUID,
        length_mm: shown.length ?? null,
        width_mm: shown.width ?? null,
      };
    })
  );
  for (const one of found) {
    await page.evaluate((uid) => {
      const { measurementService, viewportGridService } = window.services;
      measurementService.jumpToMeasurement(viewportGridService.getActiveViewportId(), uid);
    }, one.uid);
    await settled(page);
    one.jumped_to = await page.evaluate(() => {
      const { viewportGridService, cornerstoneViewportService } = window.services;
      const id = viewportGridService.getActiveViewportId();
      return cornerstoneViewportService.getCornerstoneViewport(id).getCurrentImageId();
    });
  }
  await page.close();
  return found;
}

async function text(browser, job) {
  const page = await open(browser, job);
  await load(page, job.series.course, () =>
    page.evaluate(() => document.body.innerText.includes('Oncology Measurement Report'))
  );
  const words = await page.evaluate(() => document.body.innerText);
  await page.close();
  return words;
}

async function main() {
  const job = JSON.parse(process.argv[2]);
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'ohif-profile-'));
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    userDataDir: profile,
    protocolTimeout: PATIENCE_MS * 2,
    defaultViewport: { width: 1400, height: 900 },
    // No GPU in CI: WebGL in software, whose drawing is the same.
    args: ['--no-sandbox', '--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader'],
  });
  try {
    const seen = {};
    if (job.series.seg) Object.assign(seen, await segments(browser, job));
    if (job.series.sr) seen.measurements = await measurements(browser, job);
    if (job.series.course) seen.course = await text(browser, job);
    if (job.prior) seen.compared = await compared(browser, job);
    console.log(JSON.stringify(seen));
  } finally {
    await browser.close();
    fs.rmSync(profile, { recursive: true, force: true });
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
