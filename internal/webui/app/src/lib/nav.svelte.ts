// Which screen is shown. The address bar never changes, since a browser keeps
// addresses in its history on the disk: screens live in memory, and the
// browser's own entries hold a bare number so that "back" works.

export type View =
  | { name: 'list' }
  | { name: 'chat'; peer: string }
  | { name: 'new' }
  | { name: 'requests' }
  | { name: 'me' }
  | { name: 'paths' }
  | { name: 'settings' };

const HOME: View = { name: 'list' };

class Navigation {
  view = $state<View>(HOME);
  private stack: View[] = [HOME];
  private at = 0;

  constructor() {
    history.replaceState(0, '');
    addEventListener('popstate', (event) => {
      this.at = typeof event.state === 'number' && event.state < this.stack.length ? event.state : 0;
      this.view = this.stack[this.at] ?? HOME;
    });
  }

  go(view: View): void {
    if (JSON.stringify(view) === JSON.stringify(this.view)) {
      return;
    }
    this.at++;
    this.stack.length = this.at;
    this.stack.push(view);
    history.pushState(this.at, '');
    this.view = view;
  }

  /** Back to the list, on a phone mostly. */
  home(): void {
    if (this.at > 0 && this.stack[this.at - 1]?.name === 'list') {
      history.back();
    } else {
      this.go(HOME);
    }
  }

  /** Forgets everything, as after locking. */
  reset(): void {
    this.stack = [HOME];
    this.at = 0;
    history.replaceState(0, '');
    this.view = HOME;
  }
}

export const nav = new Navigation();
