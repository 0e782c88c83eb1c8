// A reader at work in the real OHIF: opens a study, loads its measurements, changes one, draws others, and
// stores them ("Create SR"). JSON on the last line.
// Usage: node read.mjs '{"url", "study", "address", "cookies", "sr": SERIES DESCRIPTION or "hydrated": true,
//                        "nudge": {"label", "by": [x, y, z]}, "remove": LABEL,
//                        "draw": [{"tool", "image", "points": [[x, y, z], ...], "label"}], "store": NAME,
//                        "segments": COUNT, "picture": FILE}'
// Points are in the patient, mm: those that the mouse is dragged through. What is not asked for is not done.
// "hydrated": the address loads the measurements by itself. "segments": wait for a SEG with so many of them.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import puppeteer from 'puppeteer-core';

const PATIENCE_MS = Number(process.env.TUMORLINE_OHIF_PATIENCE_S ?? 180) * 1000;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(what, ask, patience = PATIENCE_MS) {
  const end = Date.now() + patience;
  for (;;) {
    const answer = await ask().catch(() => null);
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`);
    await pause(300);
  }
}

async function press(page, ...words) {
  const found = await page.evaluateHandle((wanted) => {
    const named = [...document.querySelectorAll('button')].filter((b) => wanted.includes(b.textContent.trim()));
    return named.find((button) => button.getClientRects().length) ?? null;
  }, words);
  const button = found.asElement();
  if (button) await button.click();
  return Boolean(button);
}

async function open(browser, job, seen) {
  const page = await browser.newPage();
  if (job.cookies) await page.setCookie(...job.cookies);
  page.on('console', (m) => {
    if (['error', 'warn'].includes(m.type())) seen.console.push(`${m.type()}: ${m.text().slice(0, 300)}`);
  });
  page.on('pageerror', (e) => seen.console.push(`pageerror: ${String(e).slice(0, 300)}`));
  page.on('response', (r) => {
    if (r.status() >= 400) seen.refused.push(`${r.status()} ${r.request().method()} ${r.url().slice(0, 200)}`);
  });
  await page.goto(job.address ?? `${job.url}/viewer?StudyInstanceUIDs=${job.study}`, { timeout: PATIENCE_MS });
  await until('the images are drawn', () =>
    page.evaluate(() =>
      window.services.cornerstoneViewportService.getRenderingEngine()?.getViewports()[0]?.getCurrentImageId()
    )
  );
  await press(page, 'Skip all');
  return page;
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

const measurements = (page) =>
  page.evaluate(() =>
    window.services.measurementService.getMeasurements().map((one) => {
      const shown = Object.values(one.data ?? {})[0] ?? {};
      return {
        uid: one.uid,
        tool: one.toolName,
        label: one.label,
        image: one.SOPInstanceUID,
        length_mm: shown.length ?? null,
        width_mm: shown.width ?? null,
      };
    })
  );

async function jump(page, uid) {
  await page.evaluate((one) => {
    const { measurementService, viewportGridService } = window.services;
    measurementService.jumpToMeasurement(viewportGridService.getActiveViewportId(), one);
  }, uid);
  await pause(1500);
  return page.evaluate(() => {
    const { viewportGridService, cornerstoneViewportService } = window.services;
    const id = viewportGridService.getActiveViewportId();
    return cornerstoneViewportService.getCornerstoneViewport(id).getCurrentImageId();
  });
}

async function show(page, image) {
  await until(`image ${image} is shown`, () =>
    page.evaluate(async (sop) => {
      const { viewportGridService, cornerstoneViewportService } = window.services;
      const viewport = cornerstoneViewportService.getCornerstoneViewport(viewportGridService.getActiveViewportId());
      const ids = viewport.getImageIds();
      const index = ids.findIndex((id) => id.includes(`/${sop}/`));
      if (index < 0) return false;
      if (viewport.setImageIdIndex) await viewport.setImageIdIndex(index);
      viewport.render();
      return viewport.getCurrentImageId().includes(`/${sop}/`);
    }, image)
  );
  await pause(700);
}

const onScreen = (page, points) =>
  page.evaluate((wanted) => {
    const { viewportGridService, cornerstoneViewportService } = window.services;
    const viewport = cornerstoneViewportService.getCornerstoneViewport(viewportGridService.getActiveViewportId());
    const box = viewport.canvas.getBoundingClientRect();
    return wanted.map((point) => {
      const [x, y] = viewport.worldToCanvas(point);
      return [box.left + x, box.top + y];
    });
  }, points);

async function draw(page, one) {
  await show(page, one.image);
  const before = (await measurements(page)).length;
  await page.evaluate((toolName) => {
    window.commandsManager.runCommand('setToolActiveToolbar', { toolName, toolGroupIds: ['default'] });
  }, one.tool);
  await pause(500);
  const [first, ...rest] = await onScreen(page, one.points);
  await page.mouse.move(...first);
  await page.mouse.down();
  for (const place of rest) {
    await page.mouse.move(...place, { steps: 6 });
    await pause(60);
  }
  await page.mouse.up();
  await pause(1200);
  if (one.label && one.tool === 'ArrowAnnotate') {
    await until('a text is asked for', () => page.$('[role=dialog] input, [role=dialog] textarea'), 8000).catch(() => null);
    await page.keyboard.type(one.label);
    await press(page, 'Save', 'OK');
  }
  await until(`${one.tool} is tracked`, async () => {
    await press(page, 'Yes');
    return (await measurements(page)).length > before;
  }, 20000);
  const added = (await measurements(page)).at(-1);
  if (one.label && one.tool !== 'ArrowAnnotate') {
    await page.evaluate((uid, label) => {
      const { measurementService: s } = window.services;
      s.update(uid, { ...s.getMeasurement(uid), label }, true);
    }, added.uid, one.label);
  }
  return (await measurements(page)).find((m) => m.uid === added.uid);
}

// The reader takes the end of the long axis and drags it.
async function nudge(page, { label, by }) {
  const one = (await measurements(page)).find((m) => m.label === label);
  await jump(page, one.uid);
  const from = await page.evaluate((uid) => {
    const all = window.cornerstoneTools.annotation.state.getAllAnnotations();
    return [...all.find((a) => a.annotationUID === uid).data.handles.points[1]];
  }, one.uid);
  const [start, end] = await onScreen(page, [from, from.map((value, axis) => value + by[axis])]);
  await page.mouse.move(...start);
  await pause(300);
  await page.mouse.down();
  await page.mouse.move(...end, { steps: 10 });
  await page.mouse.up();
  await pause(1500);
  return (await measurements(page)).find((m) => m.uid === one.uid);
}

async function store(page, name) {
  const before = Date.now();
  const answered = new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error('nothing was stored')), 60000);
    page.on('response', async (r) => {
      if (r.request().method() === 'POST' && /\/studies/.test(r.url())) {
        resolve({ status: r.status(), text: (await r.text().catch(() => '')).slice(0, 3000), type: r.headers()['content-type'] });
      }
    });
  });
  await until('"Create SR" is pressed', async () => {
    if (await press(page, 'Create SR')) return true;
    await page.evaluate(() => document.querySelector('[data-cy="trackedMeasurements-btn"]')?.click());
    return false;
  }, 20000);
  await pause(1500);
  const field = await page.$('[role=dialog] input[type=text], [role=dialog] input:not([type])');
  if (field) {
    await field.click({ count: 3 });
    await page.keyboard.type(name);
  }
  await until('it is saved', () => press(page, 'Save'), 10000);
  return { ...(await answered), ms: Date.now() - before };
}

// The newest SEG of the study, once it has so many segments: asked again and again, as a reader reloads.
async function segments(page, job) {
  const labels = () =>
    page.evaluate(async (study) => {
      const root = '/dicom-web/studies/' + study;
      const all = await (await fetch(root + '/instances?Modality=SEG', { cache: 'no-store' })).json();
      const found = [];
      for (const one of all) {
        const address = new URL(one['00081190'].Value[0]).pathname;
        const [told] = await (await fetch(address + '/metadata')).json();
        found.push(told['00620002'].Value.map((segment) => segment['00620005'].Value[0]));
      }
      return found;
    }, job.study);
  return until(`a segmentation has ${job.segments} segments`, async () =>
    (await labels()).find((found) => found.length >= job.segments)
  );
}

async function main() {
  const job = JSON.parse(process.argv[2]);
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'ohif-profile-'));
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    userDataDir: profile,
    protocolTimeout: PATIENCE_MS * 2,
    defaultViewport: { width: 1400, height: 900 },
    args: ['--no-sandbox', '--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader'],
  });
  const seen = { console: [], refused: [] };
  let page;
  try {
    page = await open(browser, job, seen);
    if (job.sr) await load(page, job.sr, async () => (await measurements(page)).length);
    if (job.hydrated) {
      await until('our measurements are loaded', async () => {
        await press(page, 'Yes');
        return (await measurements(page)).length;
      });
    }
    if (job.sr || job.hydrated) {
      seen.hydrated = await measurements(page);
      for (const one of seen.hydrated) one.jumped_to = await jump(page, one.uid);
    }
    if (job.nudge) seen.nudged = await nudge(page, job.nudge);
    if (job.remove) {
      await page.evaluate((label) => {
        const { measurementService: s } = window.services;
        s.remove(s.getMeasurements().find((one) => one.label === label).uid);
      }, job.remove);
    }
    seen.drawn = [];
    for (const one of job.draw ?? []) seen.drawn.push(await draw(page, one));
    if (job.store) seen.stored = await store(page, job.store);
    if (job.picture) await page.screenshot({ path: job.picture });
    if (job.segments) seen.segments = await segments(page, job);
    console.log(JSON.stringify(seen));
  } catch (error) {
    if (page && job.picture) await page.screenshot({ path: job.picture }).catch(() => null);
    console.error(JSON.stringify(seen));
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
