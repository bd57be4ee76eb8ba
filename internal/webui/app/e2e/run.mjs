// Browser test of the web app against running daemons.
//
//   SOTTO_LINK_NEW      link of an empty profile: onboarding
//   SOTTO_LINK_A, _B    links of two unlocked accounts: a conversation; with
//                       SOTTO_LINK_NEW also the request of a stranger to A
//   SOTTO_SCREENSHOTS   folder for pictures, wide and phone, light and dark
//   SOTTO_BROWSER       the browser's path; /usr/bin/chromium if unset
//
// What has no link is skipped. Any console error or warning, exception, failed
// request or request to another origin fails the run.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { launch } from './browser.mjs';
import { conversation } from './conversation.mjs';
import { onboarding } from './onboarding.mjs';

const { SOTTO_LINK_NEW, SOTTO_LINK_A, SOTTO_LINK_B, SOTTO_SCREENSHOTS } = process.env;

const SIZES = { wide: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };
const SCHEMES = ['light', 'dark'];

/** Pictures of one screen in all sizes and schemes. */
async function shoot(page, name) {
  if (!SOTTO_SCREENSHOTS) return;
  mkdirSync(SOTTO_SCREENSHOTS, { recursive: true });
  for (const [size, viewport] of Object.entries(SIZES)) {
    await page.setViewportSize(viewport);
    for (const colorScheme of SCHEMES) {
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: join(SOTTO_SCREENSHOTS, `${name}-${size}-${colorScheme}.png`), animations: 'disabled' });
    }
  }
  await page.setViewportSize(SIZES.wide);
  await page.emulateMedia({ colorScheme: 'light' });
}

const { browser, open, problems } = await launch();
const pages = [];
const start = async (link, name) => {
  const page = await open(link, name);
  pages.push([name, page]);
  return page;
};
let failed = null;
let fresh = null;
try {
  if (SOTTO_LINK_NEW) {
    fresh = await start(SOTTO_LINK_NEW, 'new');
    await onboarding(fresh, (name) => shoot(fresh, name));
    console.log('ok: onboarding');
  }
  if (SOTTO_LINK_A && SOTTO_LINK_B) {
    const a = await start(SOTTO_LINK_A, 'a');
    const b = await start(SOTTO_LINK_B, 'b');
    await conversation(a, b, shoot);
    console.log('ok: conversation');
    if (fresh) {
      await conversation(fresh, a, (page, name) => (page === a ? shoot(page, `stranger-${name}`) : undefined));
      console.log('ok: request of a stranger');
    }
  }
} catch (error) {
  failed = error;
  for (const [name, page] of SOTTO_SCREENSHOTS ? pages : []) {
    await page.screenshot({ path: join(SOTTO_SCREENSHOTS, `failed-${name}.png`) }).catch(() => undefined);
  }
} finally {
  await browser.close();
}
if (failed) console.error(failed);
for (const problem of problems) console.error(`problem: ${problem}`);
if (failed || problems.length > 0) process.exit(1);
if (!SOTTO_LINK_NEW && !(SOTTO_LINK_A && SOTTO_LINK_B)) {
  console.error('no links given');
  process.exit(2);
}
