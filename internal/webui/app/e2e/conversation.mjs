// Two accounts write to each other: a request, its acceptance, and messages
// both ways until each is delivered.
import { id, must, mustHaveFocus } from './browser.mjs';

const own = async (page) => {
  await id(page, 'open-me').click();
  const account = await id(page, 'my-id').getAttribute('data-id');
  await id(page, 'qr').waitFor();
  return account;
};

/** Opens the chat with an ID through "new chat". */
async function openChat(page, peer, name) {
  await id(page, 'open-new').click();
  await mustHaveFocus(page, 'peer-id');
  await id(page, 'peer-id').fill(peer.slice(0, 20));
  must(await id(page, 'start-chat').isDisabled(), 'half an ID is accepted');
  await id(page, 'peer-id').fill(peer.slice(0, -1) + (peer.endsWith('q') ? 'p' : 'q'));
  await page.locator('[data-testid="peer-id-hint"].bad').waitFor();
  await id(page, 'peer-id').fill(` ${peer}\n`);
  await page.locator('[data-testid="peer-id-hint"].good').waitFor();
  const naming = id(page, 'peer-new-name');
  if (await naming.isVisible()) await naming.fill(name); // not if they have one
  await id(page, 'start-chat').click();
  await page.locator(`[data-testid="conversation"][data-peer="${peer}"]`).waitFor();
  await mustHaveFocus(page, 'composer');
}

const message = (page, text) => id(page, 'message').filter({ hasText: text }).last();

async function write(page, text) {
  await id(page, 'composer').fill(text);
  await id(page, 'composer').press('Enter');
  await message(page, text).waitFor();
}

/** Waits until an outgoing message has arrived, or has even been read. */
const arrived = (page, text) =>
  message(page, text)
    .and(page.locator('[data-state="delivered"], [data-state="read"]'))
    .waitFor();

export async function conversation(a, b, shoot) {
  await Promise.all([id(a, 'messenger').waitFor(), id(b, 'messenger').waitFor()]);
  const [idA, idB] = [await own(a), await own(b)];
  must(idA !== idB, 'both links show one account');
  await shoot(a, 'my-id');

  await openChat(a, idB, 'Bob');
  const stamp = String(Date.now());
  await write(a, `Hello from A ${stamp}`);

  // B accepts, if A is a stranger to them.
  const asked = id(b, 'open-requests');
  const known = b.locator(`[data-testid="chat"][data-peer="${idA}"]`).filter({ hasText: stamp });
  await asked.or(known).first().waitFor();
  if (!(await known.isVisible())) {
    await asked.click();
    const request = b.locator(`[data-testid="request"][data-peer="${idA}"]`);
    await request.waitFor();
    await shoot(b, 'requests');
    await request.locator('[data-testid="accept"]').click();
  } else {
    await known.click();
  }
  await message(b, `Hello from A ${stamp}`).waitFor();
  await arrived(a, `Hello from A ${stamp}`);
  must(!(await id(a, 'peer-name').textContent()).startsWith('sotto1'), 'the name given to a new contact is lost');

  await write(b, `Hello from B ${stamp}`);
  await message(a, `Hello from B ${stamp}`).waitFor();
  await arrived(b, `Hello from B ${stamp}`);

  // Shift and Enter makes a second line; markup stays text.
  await id(a, 'composer').pressSequentially(`<b>two</b>`);
  await id(a, 'composer').press('Shift+Enter');
  await id(a, 'composer').pressSequentially(`lines ${stamp}`);
  await id(a, 'composer').press('Enter');
  const two = message(b, `lines ${stamp}`).locator('p');
  await two.waitFor();
  must((await two.textContent()) === `<b>two</b>\nlines ${stamp}`, 'the text changed on its way');
  await arrived(a, `lines ${stamp}`);
  await shoot(a, 'conversation');
  await shoot(b, 'conversation-b');

  // The path view shows three hops with their operators.
  await id(a, 'connection').click();
  for (const hop of ['guard', 'middle', 'exit']) {
    must(/run by \S/.test((await id(a, `hop-${hop}`).textContent()) ?? ''), `the ${hop} has no operator`);
  }
  await shoot(a, 'paths');

  await id(a, 'open-new').click();
  await shoot(a, 'new-chat');
  if (await id(a, 'open-requests').isVisible()) {
    await id(a, 'open-requests').click();
    await shoot(a, 'requests');
  }
  await a.locator(`[data-testid="chat"][data-peer="${idB}"]`).click();
  await id(a, 'open-contact').click();
  await id(a, 'contact').waitFor();
  await shoot(a, 'contact');
  await a.keyboard.press('Escape');
  await id(a, 'contact').waitFor({ state: 'detached' });
}
