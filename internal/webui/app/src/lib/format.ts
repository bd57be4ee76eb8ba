// Times and IDs as people read them.

const LOCALE = 'en-GB';

const clock = new Intl.DateTimeFormat(LOCALE, { hour: '2-digit', minute: '2-digit' });
const weekday = new Intl.DateTimeFormat(LOCALE, { weekday: 'long' });
const shortWeekday = new Intl.DateTimeFormat(LOCALE, { weekday: 'short' });
const dayMonth = new Intl.DateTimeFormat(LOCALE, { day: 'numeric', month: 'long' });
const shortDate = new Intl.DateTimeFormat(LOCALE, { day: 'numeric', month: 'short' });
const fullDate = new Intl.DateTimeFormat(LOCALE, { day: 'numeric', month: 'long', year: 'numeric' });
const complete = new Intl.DateTimeFormat(LOCALE, { dateStyle: 'full', timeStyle: 'short' });

const DAY = 24 * 60 * 60 * 1000;

export interface DayWords {
  today: string;
  yesterday: string;
}

/** Whole days from a to b by the local calendar. */
export function daysBetween(a: Date, b: Date): number {
  const start = (d: Date) => new Date(d.getFullYear(), d.getMonth(), d.getDate()).getTime();
  return Math.round((start(b) - start(a)) / DAY);
}

export const timeOf = (iso: string): string => clock.format(new Date(iso));

export const completeTime = (iso: string): string => complete.format(new Date(iso));

/** A separator between days: Today, Yesterday, Tuesday, 3 May, 3 May 2024. */
export function dayOf(iso: string, now: Date, say: DayWords): string {
  const d = new Date(iso);
  const ago = daysBetween(d, now);
  if (ago === 0) return say.today;
  if (ago === 1) return say.yesterday;
  if (ago > 1 && ago < 7) return weekday.format(d);
  return d.getFullYear() === now.getFullYear() ? dayMonth.format(d) : fullDate.format(d);
}

/** For the list of chats: a time today, then ever coarser. */
export function whenShort(iso: string, now: Date, say: DayWords): string {
  const d = new Date(iso);
  const ago = daysBetween(d, now);
  if (ago === 0) return clock.format(d);
  if (ago === 1) return say.yesterday;
  if (ago > 1 && ago < 7) return shortWeekday.format(d);
  return shortDate.format(d);
}

/** An ID's beginning and end, enough to tell people apart at a glance. */
export function shortID(id: string): string {
  return id.length <= 18 ? id : `${id.slice(0, 11)}…${id.slice(-5)}`;
}

/** An ID in groups, for reading it out. */
export function groups(id: string, size = 5): string[] {
  const out: string[] = [];
  for (let i = 0; i < id.length; i += size) {
    out.push(id.slice(i, i + size));
  }
  return out;
}

/** A number below n that an ID always gives, to choose a colour by. */
export function hue(id: string, n: number): number {
  let h = 0;
  for (const c of id) {
    h = (h * 31 + c.charCodeAt(0)) >>> 0;
  }
  return h % n;
}
