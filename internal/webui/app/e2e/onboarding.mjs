// An empty profile becomes an account: name, passphrase, the phrase and the
// check of three words; then it is locked and unlocked.
import { id, must, mustHaveFocus } from './browser.mjs';

const PASSPHRASE = 'seven quiet lanterns over the harbour';

export async function onboarding(page, shoot) {
  await id(page, 'welcome-create').waitFor();
  must(new URL(page.url()).hash === '', 'the token stays in the address bar');
  await shoot('welcome');
  await id(page, 'welcome-create').click();

  await mustHaveFocus(page, 'name');
  await id(page, 'name').fill('Nora');
  await id(page, 'name-next').click();

  await mustHaveFocus(page, 'passphrase');
  await id(page, 'passphrase').fill('short');
  must(await id(page, 'create').isDisabled(), 'a short passphrase is accepted');
  await id(page, 'passphrase').fill(PASSPHRASE);
  await id(page, 'passphrase-confirm').fill('something else');
  must(await id(page, 'create').isDisabled(), 'two different passphrases are accepted');
  await id(page, 'passphrase-confirm').fill(PASSPHRASE);
  await shoot('passphrase');
  await id(page, 'create').click();

  await id(page, 'phrase').waitFor();
  const words = await page.locator('[data-word]').allTextContents();
  must(words.length === 24 && words.every((w) => /^[a-z]+$/.test(w)), `the phrase has ${words.length} words`);
  await shoot('phrase');
  await id(page, 'phrase-next').click();

  const inputs = id(page, 'check-word');
  must((await inputs.count()) === 3, 'the check does not ask for three words');
  const asked = [];
  for (let i = 0; i < 3; i++) {
    const position = Number(await inputs.nth(i).getAttribute('data-position'));
    asked.push(position);
    await inputs.nth(i).fill(i === 1 ? 'wrong' : words[position - 1]);
  }
  must(new Set(asked).size === 3, 'the check asks for a word twice');
  await id(page, 'check-done').click();
  must((await page.locator('[aria-invalid="true"]').count()) === 1, 'a wrong word is not marked');
  await shoot('check');
  await inputs.nth(1).fill(words[asked[1] - 1].toUpperCase());
  await id(page, 'check-done').click();

  await id(page, 'start').waitFor();
  const account = await id(page, 'my-id').getAttribute('data-id');
  must(/^sotto1[02-9ac-hj-np-z]{59}$/.test(account ?? ''), 'the ID is not shown');
  must((await page.content()).includes(words[0] + '</span>') === false, 'the phrase is still in the page');
  await shoot('finished');
  await id(page, 'start').click();
  await id(page, 'messenger').waitFor();
  await id(page, 'connection').and(page.locator('[data-state="online"]')).waitFor();
  await shoot('empty');

  await id(page, 'open-settings').click();
  await coverLevels(page);
  await shoot('settings');
  await id(page, 'lock').click();
  await mustHaveFocus(page, 'unlock-passphrase');
  await id(page, 'unlock-passphrase').fill(PASSPHRASE);
  await shoot('unlock');
  await id(page, 'unlock').click();
  await id(page, 'messenger').waitFor();

  await page.reload();
  await id(page, 'messenger').waitFor();
  return account;
}

/** The level of cover traffic says what it costs, applies, and is kept. */
async function coverLevels(page) {
  await id(page, 'cover-standard').waitFor();
  must(await id(page, 'cover-standard').isChecked(), 'standard is not the level of a new account');
  const costs = await page.locator('label:has([name="cover"]) .cost').allTextContents();
  must(costs.length === 4 && costs.every((cost) => /\d+ MB a day/.test(cost)), 'a level does not say what it costs');
  await id(page, 'cover-high').check();
  await page.getByText('Saved').waitFor();
  await id(page, 'open-me').click();
  await id(page, 'open-settings').click();
  await id(page, 'cover-high').waitFor();
  must(await id(page, 'cover-high').isChecked(), 'the chosen level is lost');
  await id(page, 'cover-active').check();
  await page.getByText('Saved').waitFor();
}
