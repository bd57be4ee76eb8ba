// The token came in the link's fragment, which no browser sends anywhere. It
// is kept for this tab only, and taken out of the address bar at once.

const KEY = 'sotto-token';

export function takeToken(): string | null {
  const found = /[#&]token=([A-Za-z0-9_-]+)/.exec(location.hash)?.[1];
  if (found) {
    sessionStorage.setItem(KEY, found);
  }
  if (location.hash) {
    history.replaceState(null, '', location.pathname);
  }
  return sessionStorage.getItem(KEY);
}

export function dropToken(): void {
  sessionStorage.removeItem(KEY);
}
