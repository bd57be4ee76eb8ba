// A browser that is watched: every console error, failed request, page error
// and request to another origin than the page's own is remembered, and fails
// the test.
import { chromium } from 'playwright-core';

const FLAGS = ['--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking'];

export async function launch() {
  const browser = await chromium.launch({
    executablePath: process.env.SOTTO_BROWSER || '/usr/bin/chromium',
    args: FLAGS,
  });
  const problems = [];

  /** Opens a link in a profile of its own. */
  async function open(link, name, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    const page = await context.newPage();
    const origin = new URL(link).origin;
    const allowed = (url) => {
      const { protocol, origin: other } = new URL(url);
      return other === origin || protocol === 'data:' || protocol === 'blob:';
    };
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') {
        problems.push(`${name}: console ${message.type()}: ${message.text()}`);
      }
    });
    page.on('pageerror', (error) => problems.push(`${name}: exception: ${error.message}`));
    page.on('request', (request) => {
      if (!allowed(request.url())) problems.push(`${name}: foreign request to ${request.url()}`);
      if (request.url().includes('token')) problems.push(`${name}: token in a request's address`);
    });
    page.on('requestfailed', (request) => {
      // The event stream ends with its page.
      if (!request.url().endsWith('/events')) {
        problems.push(`${name}: ${request.url()} failed: ${request.failure()?.errorText}`);
      }
    });
    page.setDefaultTimeout(30_000);
    await page.goto(link);
    return page;
  }

  return { browser, open, problems };
}

export const id = (page, testid) => page.locator(`[data-testid="${testid}"]`);

/** Fails unless the keyboard is where one would type. */
export async function mustHaveFocus(page, testid) {
  const focused = () => page.evaluate(() => document.activeElement?.getAttribute('data-testid'));
  await page.waitForFunction((want) => document.activeElement?.getAttribute('data-testid') === want, testid, { timeout: 5_000 }).catch(async () => {
    throw new Error(`the focus is on ${await focused()}, not on ${testid}`);
  });
}

/** Fails with words when something is not as it should be. */
export function must(condition, text) {
  if (!condition) throw new Error(text);
}
